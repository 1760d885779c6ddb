/* From a configuration to its data and to what computes. */
#include "cairn/session.h"

#include "cairn/model.h"
#include "cairn/model_file.h"

#include <stdio.h>
#include <string.h>

cairn_status cairn_session_read(cairn_session *session, const cairn_config *config,
                                const char *model, const volatile sig_atomic_t *stop) {
    cairn_status status = cairn_dataset_open_until(&session->data, config, stop);
    return status || !model ? status : cairn_model_match(session->data, model);
}

cairn_status cairn_session_describe(cairn_session *session, const cairn_config *config,
                                    const char *model) {
    return model ? cairn_model_describe(&session->data, config, model)
                 : cairn_dataset_describe(&session->data, config);
}

cairn_status cairn_session_plan(cairn_session *session, const cairn_config *config, int most) {
    const cairn_dataset *data = session->data;
    const cairn_shape input = {data->test.channels, data->test.height, data->test.width};
    cairn_executor_options *options = &session->options;
    *options = cairn_executor_configure(config, data);
    if (options->batch > most)
        options->batch = most;
    cairn_status status =
        cairn_backend_find(&session->backend, &options->device, config->device, options->precision);
    if (status)
        return status;
    snprintf(session->passed_over, sizeof session->passed_over, "%s", cairn_error_message());
    return cairn_model_build(&session->net, config, input, data->classes);
}

cairn_status cairn_session_claim(cairn_session *session, const cairn_config *config, bool quiet,
                                 const volatile sig_atomic_t *stop) {
    const cairn_backend *backend = session->backend;
    int *ordinal = &session->options.device;
    if (!backend->identify || strchr(config->device, ':'))
        return CAIRN_OK;
    cairn_status status =
        cairn_lock_take_device(&session->device, backend->identify, false, stop, ordinal);
    if (status != CAIRN_BAD_INPUT)
        return status;
    if (!quiet)
        fprintf(stderr, "%s: waiting for one; device: %s:N shares one\n", cairn_error_message(),
                backend->name);
    return cairn_lock_take_device(&session->device, backend->identify, true, stop, ordinal);
}

cairn_status cairn_session_start(cairn_session *session, const char *model) {
    cairn_status status = cairn_executor_create(&session->executor, session->backend, session->net,
                                                &session->options);
    return status || !model ? status : cairn_model_load(session->executor, model);
}

void cairn_session_close(cairn_session *session) {
    cairn_executor_destroy(session->executor); /* first: it reads net and images in place */
    cairn_net_destroy(session->net);
    cairn_dataset_destroy(session->data);
    cairn_lock_release(&session->device);
    *session = (cairn_session){0};
}
