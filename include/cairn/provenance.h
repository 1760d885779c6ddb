/* Where a run's numbers come from. */
#ifndef CAIRN_PROVENANCE_H
#define CAIRN_PROVENANCE_H

#include "cairn/dataset.h"
#include "cairn/digest.h"
#include "cairn/executor.h"

#include <pthread.h>

/* "" where it cannot be found out. */
typedef struct {
    char data_digest[CAIRN_DIGEST_HEX];
    char revision[CAIRN_DIGEST_HEX];      /* git's, of the repository that the process works in */
    bool dirty;                           /* a tracked file differs from it: not the parameters */
    char binary_digest[CAIRN_DIGEST_HEX]; /* sha256 of this program */
    char plugin_digest[CAIRN_DIGEST_HEX]; /* and of the plugin, where one computes */
    char processor[256];
    char experiment[256]; /* DVC's name for it */
    char note[1024];      /* "<key>: <why it is not known>; ..." */
    char warning[512];    /* why not a repository's revision, though there is one; "" */
    /* Of the search. */
    const cairn_dataset *data;
    pthread_t thread;
    bool threaded, ended;
    cairn_status status;
    char message[256];
} cairn_provenance;

/* git's revision of the repository that the process works in, and whether a tracked file differs
 * from it; runs no program that the repository names, and takes some seconds at most. No
 * repository, and no git, are CAIRN_BAD_INPUT. */
cairn_status cairn_git_look(char revision[CAIRN_DIGEST_HEX], bool *dirty);

/* Finds it out beside the caller's work. The end, which has to come and may come again, waits for
 * it; the executor says whether a plugin computes, NULL: nobody wants to know any more. */
void cairn_provenance_begin(cairn_provenance *found, const cairn_dataset *data);
cairn_status cairn_provenance_end(cairn_provenance *found, const cairn_executor *executor);

/* The name of this machine's processor, or "unknown". */
void cairn_processor_name(char *out, size_t size);

#endif
