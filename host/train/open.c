/* From a configuration and its data to what computes. */
#include "cairn/model.h"
#include "cairn/train.h"

cairn_status cairn_executor_open(cairn_executor **executor, cairn_net **net,
                                 const cairn_config *config, const cairn_dataset *data, int most) {
    const cairn_split *like = &data->test;
    const cairn_shape input = {like->channels, like->height, like->width};
    const cairn_backend *backend = NULL;
    cairn_executor_options options = cairn_executor_configure(config, data);
    if (options.batch > most)
        options.batch = most;
    cairn_status status =
        cairn_backend_find(&backend, &options.device, config->device, options.precision);
    if (!status)
        status = cairn_model_build(net, config, input, data->classes);
    if (!status)
        status = cairn_executor_create(executor, backend, *net, &options);
    return status;
}
