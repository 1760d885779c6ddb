/* Digests through libcrypto's EVP interface. */
#include "cairn/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

/* cairn_digest is libcrypto's own context under our name. */
static EVP_MD_CTX *context(cairn_digest *digest) {
    return (EVP_MD_CTX *)digest;
}

cairn_status cairn_digest_begin(cairn_digest **digest, const char *algorithm) {
    const EVP_MD *method = EVP_get_digestbyname(algorithm);
    EVP_MD_CTX *made = method ? EVP_MD_CTX_new() : NULL;
    if (!made || EVP_DigestInit_ex(made, method, NULL) != 1) {
        EVP_MD_CTX_free(made);
        return cairn_error_set(CAIRN_FAILED, "libcrypto offers no digest %s", algorithm);
    }
    *digest = (cairn_digest *)made;
    return CAIRN_OK;
}

cairn_status cairn_digest_add(cairn_digest *digest, const void *data, size_t size) {
    if (EVP_DigestUpdate(context(digest), data, size) != 1)
        return cairn_error_set(CAIRN_FAILED, "libcrypto could not digest %zu bytes", size);
    return CAIRN_OK;
}

cairn_status cairn_digest_end(cairn_digest *digest, char hex[CAIRN_DIGEST_HEX]) {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    int done = !hex || EVP_DigestFinal_ex(context(digest), raw, &length) == 1;
    EVP_MD_CTX_free(context(digest));
    if (!done)
        return cairn_error_set(CAIRN_FAILED, "libcrypto could not finish a digest");
    for (unsigned i = 0; hex && i < length && 2 * i + 2 < CAIRN_DIGEST_HEX; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", raw[i]);
    return CAIRN_OK;
}

cairn_status cairn_sha256(const void *data, size_t size, char hex[CAIRN_DIGEST_HEX]) {
    cairn_digest *digest = NULL;
    cairn_status status = cairn_digest_begin(&digest, "sha256");
    if (status)
        return status;
    status = cairn_digest_add(digest, data, size);
    cairn_status ended = cairn_digest_end(digest, status ? NULL : hex);
    return status ? status : ended;
}
