/* Message digests, by OpenSSL's libcrypto. */
#ifndef CAIRN_DIGEST_H
#define CAIRN_DIGEST_H

#include "cairn/status.h"

#include <stddef.h>

enum { CAIRN_DIGEST_HEX = 65 }; /* bytes for the longest digest in hex, with its zero */

typedef struct cairn_digest cairn_digest;

/* Starts a digest; algorithm "sha256" or "md5". */
cairn_status cairn_digest_begin(cairn_digest **digest, const char *algorithm);
cairn_status cairn_digest_add(cairn_digest *digest, const void *data, size_t size);

/* Writes the lower-case hex and frees the digest. `hex` may be NULL, to free only. */
cairn_status cairn_digest_end(cairn_digest *digest, char hex[CAIRN_DIGEST_HEX]);

/* SHA-256 of one buffer. */
cairn_status cairn_sha256(const void *data, size_t size, char hex[CAIRN_DIGEST_HEX]);

#endif
