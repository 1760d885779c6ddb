/* Event files: TFRecords of protocol buffers (tensorboard.proto). A record is the length of its
 * data as 8 bytes, that length's masked CRC-32C, the data, and the data's masked CRC-32C; all
 * numbers little-endian (https://www.tensorflow.org/tutorials/load_data/tfrecord).
 *
 * Scalars, histograms and images are written in their old, short form, which TensorBoard itself
 * turns into tensors as it reads them. */
#include "cairn/file.h"
#include "cairn/tensorboard.h"

#include "tensorboard.pb-c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct cairn_events {
    int fd;
    char path[PATH_MAX];
};

static double wall_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static cairn_status out_of_memory(const cairn_events *events) {
    return cairn_error_set(CAIRN_FAILED, "out of memory for %s", events->path);
}

/* Records -------------------------------------------------------------------------------------- */

static uint8_t *put_number(uint8_t *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

static cairn_status append_bytes(const cairn_events *events, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t put = write(events->fd, bytes, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", events->path,
                                   strerror(errno));
        bytes += put;
        size -= (size_t)put;
    }
    return CAIRN_OK;
}

static cairn_status append(cairn_events *events, Tb__Event *event) {
    enum { LENGTH = 8, CHECKSUM = 4 };
    event->wall_time = wall_time();
    size_t size = tb__event__get_packed_size(event);
    uint8_t *record = malloc(LENGTH + CHECKSUM + size + CHECKSUM), *end = record;
    if (!record)
        return out_of_memory(events);
    end = put_number(end, size, LENGTH);
    end = put_number(end, cairn_crc32c_mask(cairn_crc32c(record, LENGTH)), CHECKSUM);
    uint8_t *data = end;
    end += tb__event__pack(event, data);
    end = put_number(end, cairn_crc32c_mask(cairn_crc32c(data, size)), CHECKSUM);
    cairn_status status = append_bytes(events, record, (size_t)(end - record));
    free(record);
    return status;
}

/* An event of one value. */
static cairn_status append_value(cairn_events *events, const char *tag, int64_t step,
                                 Tb__SummaryValue *value) {
    Tb__Summary summary = TB__SUMMARY__INIT;
    Tb__Event event = TB__EVENT__INIT;
    value->tag = (char *)tag; /* only read */
    summary.n_value = 1;
    summary.value = &value;
    event.step = step;
    event.what_case = TB__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return append(events, &event);
}

/* Files ---------------------------------------------------------------------------------------- */

/* The seconds in the name of an event file of Cairn's, or -1. */
static long long seconds_of(const char *name) {
    long long seconds = -1;
    int end = 0;
    if (sscanf(name, "events.out.tfevents.%10lld.cairn%n", &seconds, &end) != 1 || !end ||
        name[end] != '\0')
        return -1;
    return seconds;
}

static cairn_status append_beginning(cairn_events *events, int64_t step, bool goes_on) {
    Tb__Event version = TB__EVENT__INIT, start = TB__EVENT__INIT;
    Tb__SessionLog session = TB__SESSION_LOG__INIT;
    version.what_case = TB__EVENT__WHAT_FILE_VERSION;
    version.file_version = (char *)"brain.Event:2";
    session.status = TB__SESSION_LOG__SESSION_STATUS__START;
    start.step = step + 1; /* the first step that is void */
    start.what_case = TB__EVENT__WHAT_SESSION_LOG;
    start.session_log = &session;
    cairn_status status = append(events, &version);
    return status || !goes_on ? status : append(events, &start);
}

cairn_status cairn_events_open(cairn_events **made, const char *folder, int64_t step) {
    long long last = -1, seconds = (long long)wall_time();
    DIR *entries = opendir(folder);
    if (!entries)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot open: %s", folder, strerror(errno));
    for (struct dirent *entry; (entry = readdir(entries));)
        if (seconds_of(entry->d_name) > last)
            last = seconds_of(entry->d_name);
    closedir(entries);
    if (seconds <= last)
        seconds = last + 1;

    cairn_events *events = calloc(1, sizeof *events);
    if (!events)
        return cairn_error_set(CAIRN_FAILED, "out of memory for TensorBoard's file in %s", folder);
    events->fd = -1;
    cairn_status status = cairn_path_format(
        events->path, sizeof events->path, "%s/events.out.tfevents.%010lld.cairn", folder, seconds);
    if (!status) {
        events->fd = open(events->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (events->fd < 0)
            status = cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", events->path,
                                     strerror(errno));
    }
    if (!status)
        status = append_beginning(events, step, last >= 0);
    if (status) {
        cairn_events_close(events);
        return status;
    }
    *made = events;
    return CAIRN_OK;
}

void cairn_events_close(cairn_events *events) {
    if (!events)
        return;
    if (events->fd >= 0)
        close(events->fd);
    free(events);
}

cairn_status cairn_events_sync(cairn_events *events) {
    if (fsync(events->fd) != 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", events->path, strerror(errno));
    return CAIRN_OK;
}

/* Values --------------------------------------------------------------------------------------- */

cairn_status cairn_events_scalar(cairn_events *events, const char *tag, int64_t step,
                                 double value) {
    Tb__SummaryValue scalar = TB__SUMMARY_VALUE__INIT;
    scalar.value_case = TB__SUMMARY_VALUE__VALUE_SIMPLE_VALUE;
    scalar.simple_value = (float)value;
    return append_value(events, tag, step, &scalar);
}

cairn_status cairn_events_histogram(cairn_events *events, const char *tag, int64_t step,
                                    const float *values, size_t count) {
    double limits[CAIRN_BUCKETS], counts[CAIRN_BUCKETS] = {0};
    Tb__Histogram histogram = TB__HISTOGRAM__INIT;
    histogram.min = DBL_MAX;
    histogram.max = -DBL_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        double value = values[i];
        histogram.min = value < histogram.min ? value : histogram.min;
        histogram.max = value > histogram.max ? value : histogram.max;
        histogram.num++;
        histogram.sum += value;
        histogram.sum_squares += value * value;
    }
    if (histogram.num == 0)
        return CAIRN_OK;
    double span = histogram.max - histogram.min;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        double place = span > 0 ? (values[i] - histogram.min) / span * CAIRN_BUCKETS : 0;
        counts[place < CAIRN_BUCKETS ? (int)place : CAIRN_BUCKETS - 1]++;
    }
    for (int i = 0; i < CAIRN_BUCKETS; i++)
        limits[i] = histogram.min + span * (i + 1) / CAIRN_BUCKETS;
    limits[CAIRN_BUCKETS - 1] = histogram.max;
    histogram.n_bucket = histogram.n_bucket_limit = span > 0 ? CAIRN_BUCKETS : 1;
    histogram.bucket = counts;
    histogram.bucket_limit = span > 0 ? limits : &histogram.max;
    Tb__SummaryValue value = TB__SUMMARY_VALUE__INIT;
    value.value_case = TB__SUMMARY_VALUE__VALUE_HISTO;
    value.histo = &histogram;
    return append_value(events, tag, step, &value);
}

cairn_status cairn_events_image(cairn_events *events, const char *tag, int64_t step,
                                const cairn_drawing *drawing) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)drawing->width,
                     .height = (png_uint_32)drawing->height,
                     .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return out_of_memory(events);
    if (!png_image_write_to_memory(&png, bytes, &size, 0, drawing->rgb, 0, NULL)) {
        free(bytes);
        return cairn_error_set(CAIRN_FAILED, "%s: cannot make a PNG of %s: %s", events->path, tag,
                               png.message);
    }
    Tb__Image image = TB__IMAGE__INIT;
    Tb__SummaryValue value = TB__SUMMARY_VALUE__INIT;
    image.width = drawing->width;
    image.height = drawing->height;
    image.colorspace = 3;
    image.encoded_image_string = (ProtobufCBinaryData){size, bytes};
    value.value_case = TB__SUMMARY_VALUE__VALUE_IMAGE;
    value.image = &image;
    cairn_status status = append_value(events, tag, step, &value);
    free(bytes);
    return status;
}

/* The HParams tab ------------------------------------------------------------------------------ */

/* Its data is in the metadata of values that are themselves empty; TensorBoard wants a number there
 * all the same. */
static cairn_status append_session(cairn_events *events, const char *tag, int64_t step,
                                   const Tb__HParamsPluginData *data) {
    Tb__PluginData plugin = TB__PLUGIN_DATA__INIT;
    Tb__SummaryMetadata metadata = TB__SUMMARY_METADATA__INIT;
    Tb__TensorShape shape = TB__TENSOR_SHAPE__INIT;
    Tb__Tensor tensor = TB__TENSOR__INIT;
    Tb__SummaryValue value = TB__SUMMARY_VALUE__INIT;
    float zero = 0;
    size_t size = tb__hparams_plugin_data__get_packed_size(data);
    uint8_t *content = malloc(size + 1);
    if (!content)
        return out_of_memory(events);
    tb__hparams_plugin_data__pack(data, content);
    plugin.plugin_name = (char *)"hparams";
    plugin.content = (ProtobufCBinaryData){size, content};
    metadata.plugin_data = &plugin;
    metadata.data_class = 2;
    tensor.dtype = 1;
    tensor.tensor_shape = &shape;
    tensor.n_float_val = 1;
    tensor.float_val = &zero;
    value.metadata = &metadata;
    value.value_case = TB__SUMMARY_VALUE__VALUE_TENSOR;
    value.tensor = &tensor;
    cairn_status status = append_value(events, tag, step, &value);
    free(content);
    return status;
}

cairn_status cairn_events_parameters(cairn_events *events, const cairn_hparam *parameters,
                                     size_t count) {
    Tb__HParamsPluginData data = TB__HPARAMS_PLUGIN_DATA__INIT;
    Tb__SessionStartInfo session = TB__SESSION_START_INFO__INIT;
    cairn_status status;
    Tb__HParam *entries = calloc(count + 1, sizeof *entries);
    Tb__Value *values = calloc(count + 1, sizeof *values);
    Tb__HParam **list = calloc(count + 1, sizeof(void *));
    if (!entries || !values || !list) {
        status = out_of_memory(events);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        tb__hparam__init(&entries[i]);
        tb__value__init(&values[i]);
        entries[i].key = (char *)parameters[i].name;
        entries[i].value = &values[i];
        list[i] = &entries[i];
        if (parameters[i].text) {
            values[i].kind_case = TB__VALUE__KIND_STRING_VALUE;
            values[i].string_value = (char *)parameters[i].text;
        } else {
            values[i].kind_case = TB__VALUE__KIND_NUMBER_VALUE;
            values[i].number_value = parameters[i].number;
        }
    }
    session.n_hparams = count;
    session.hparams = list;
    session.start_time_secs = wall_time();
    data.data_case = TB__HPARAMS_PLUGIN_DATA__DATA_SESSION_START_INFO;
    data.session_start_info = &session;
    status = append_session(events, "_hparams_/session_start_info", 0, &data);
done:
    free(entries);
    free(values);
    free(list);
    return status;
}

cairn_status cairn_events_finish(cairn_events *events, int64_t step) {
    Tb__HParamsPluginData data = TB__HPARAMS_PLUGIN_DATA__INIT;
    Tb__SessionEndInfo session = TB__SESSION_END_INFO__INIT;
    session.status = 1;
    session.end_time_secs = wall_time();
    data.data_case = TB__HPARAMS_PLUGIN_DATA__DATA_SESSION_END_INFO;
    data.session_end_info = &session;
    cairn_status status = append_session(events, "_hparams_/session_end_info", step, &data);
    return status ? status : cairn_events_sync(events);
}
