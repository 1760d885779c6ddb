/* What a command computes with: the data, the net that the configuration names for them, and an
 * executor of it. Every command opens them here. */
#ifndef CAIRN_SESSION_H
#define CAIRN_SESSION_H

#include "cairn/config.h"
#include "cairn/dataset.h"
#include "cairn/executor.h"
#include "cairn/lock.h"

#include <signal.h>
#include <stdbool.h>

/* Begins zeroed. What the calls below make is its own; cairn_session_close frees it, after a
 * failure too. */
typedef struct {
    cairn_dataset *data;
    const cairn_backend *backend;
    cairn_executor_options options;
    cairn_net *net;
    cairn_executor *executor;
    cairn_lock device;     /* held, where the device was chosen here */
    char passed_over[512]; /* why `auto` did not take a faster backend; "": it did */
} cairn_session;

/* The data set: whole, until *stop (which may be NULL) is not zero; or its description alone,
 * without images. `model` is the file of a model that will look at them, or NULL: whole data get
 * its statistics and must have its classes (cairn_model_match), and its description of them is
 * preferred (cairn_model_describe). */
cairn_status cairn_session_read(cairn_session *session, const cairn_config *config,
                                const char *model, const volatile sig_atomic_t *stop);
cairn_status cairn_session_describe(cairn_session *session, const cairn_config *config,
                                    const char *model);

/* After the data: backend, options and net. Batches are of config->train.batch_size or, where that
 * is fewer, of `most`. */
cairn_status cairn_session_plan(cairn_session *session, const cairn_config *config, int most);

/* After the plan: a device that no other run on this machine has, where the configuration names
 * none; waits for one, with a word on stderr unless `quiet`, until *stop is not zero. */
cairn_status cairn_session_claim(cairn_session *session, const cairn_config *config, bool quiet,
                                 const volatile sig_atomic_t *stop);

/* After the plan: the executor, with the parameters in the file `model` unless that is NULL. */
cairn_status cairn_session_start(cairn_session *session, const char *model);

void cairn_session_close(cairn_session *session);

#endif
