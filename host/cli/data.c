/* `cairn data`: gets CIFAR-10 and CIFAR-100, says what a data set holds, shows one image. */
#include "cli.h"

#include "cairn/dataset.h"
#include "cairn/stop.h"
#include "cairn/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static const char help[] =
    "usage: cairn data get [--from PATH|URL] [--md5 HEX] [--sha256 HEX] [--dir DIR] [--quiet]\n"
    "                      [--name cifar10|cifar100] [params.yaml] [-S key=value]...\n"
    "       cairn data check [--dir DIR] [params.yaml] [-S key=value]...\n"
    "       cairn data show N [--split train|test] [params.yaml] [-S key=value]...\n"
    "       cairn data show N --out FILE [--count K] [--epochs E] [params.yaml] [-S key=value]...\n"
    "\n"
    "get downloads CIFAR-10 or CIFAR-100, as data.name says, and unpacks it into data.dir. The\n"
    "archive is verified before use, by the official checksum or by the one that is given. A\n"
    "partial download is resumed; data that is complete stays as it is. CURL_CA_BUNDLE names a\n"
    "file of certificate authorities to trust instead of the system's.\n"
    "\n"
    "check reads the data set and prints its counts, the memory that it takes and its digest; or\n"
    "what is wrong with which file.\n"
    "\n"
    "show prints image N, counted from 0, and its label: in colour on a terminal, else as\n"
    "characters. With --out it writes a PNG picture instead: a row for each of K training images\n"
    "from N on, first as it is, then as training sees it in each of the first E epochs.\n"
    "\n"
    "  --from PATH|URL\n"
    "                  where the archive comes from, instead of its official address: a path, or\n"
    "                  an http, https or file address; an address needs a checksum\n"
    "  --md5 HEX       the checksum that the archive must have\n"
    "  --sha256 HEX    the same by SHA-256\n"
    "  --dir DIR       the folder of the data, instead of data.dir; `get` then brings CIFAR-10\n"
    "                  unless --name, -S data.name or params.yaml, if it is named, says otherwise\n"
    "  --name cifar10|cifar100\n"
    "                  the data set to get, instead of data.name\n"
    "  --quiet         print nothing but errors\n"
    "  --split train|test\n"
    "                  the split that `show` takes the image from (default train)\n"
    "  --out FILE      the PNG file that `show` writes\n"
    "  --count K       how many images it has (default 8)\n"
    "  --epochs E      how many epochs it has (default 8)\n" CAIRN_HELP_COMMON "\n"
    "  cairn data get\n"
    "  cairn data show 0 --out sheet.png --count 4 -S augment.flip=random\n";

typedef struct {
    cairn_common_arguments common;
    const char *name, *from, *md5, *sha256, *dir, *split, *out, *count, *epochs;
    bool quiet;
} data_arguments;

static cairn_status get(const data_arguments *arguments) {
    cairn_config config;
    cairn_fetch fetch = {.name = arguments->name,
                         .source = arguments->from,
                         .md5 = arguments->md5,
                         .sha256 = arguments->sha256,
                         .folder = arguments->dir,
                         .quiet = arguments->quiet,
                         .stop = cairn_stop_install()};
    bool configured = arguments->common.params || arguments->common.override_count > 0;
    if (!fetch.folder || (configured && !fetch.name)) {
        cairn_status status = cairn_common_config(&config, &arguments->common);
        if (status)
            return status;
        if (!fetch.name)
            fetch.name = config.data.name;
        if (strcmp(fetch.name, "synthetic") == 0 || strcmp(fetch.name, "folder") == 0) {
            printf("data.name is %s: there is nothing to get\n", fetch.name);
            return CAIRN_OK;
        }
        if (!fetch.folder)
            fetch.folder = config.data.dir;
    }
    cairn_status status = cairn_dataset_fetch(&fetch);
    if (status == CAIRN_INTERRUPTED)
        fprintf(stderr, "cairn: %s; the same command resumes it\n", cairn_error_message());
    if (!status && !arguments->quiet)
        printf("%s is in %s\n",
               fetch.name && strcmp(fetch.name, "cifar100") == 0 ? "CIFAR-100" : "CIFAR-10",
               fetch.folder);
    return status;
}

static cairn_status open_dataset(cairn_dataset **dataset, cairn_config *config,
                                 const data_arguments *arguments) {
    cairn_status status = cairn_common_config(config, &arguments->common);
    config->data.validation = 0; /* the splits as they come */
    if (!status && arguments->dir)
        status = snprintf(config->data.dir, sizeof config->data.dir, "%s", arguments->dir) <
                         (int)sizeof config->data.dir
                     ? CAIRN_OK
                     : cairn_error_set(CAIRN_BAD_INPUT, "--dir: the path is too long");
    return status ? status : cairn_dataset_open(dataset, config);
}

static cairn_status check(const data_arguments *arguments) {
    cairn_dataset *dataset = NULL;
    cairn_config config;
    cairn_status status = open_dataset(&dataset, &config, arguments);
    if (status)
        return status;
    char digest[CAIRN_DIGEST_HEX];
    status = cairn_dataset_digest(dataset, digest);
    if (status) {
        cairn_dataset_destroy(dataset);
        return status;
    }
    int counts[2][CAIRN_CLASSES_MAX] = {{0}};
    const cairn_split *splits[] = {&dataset->train, &dataset->test};
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < splits[s]->count; i++)
            counts[s][splits[s]->labels[i]]++;
    printf("data set  %s\n", dataset->name);
    printf("images    %d train, %d test, %d %s of %d x %d\n", dataset->train.count,
           dataset->test.count, dataset->train.channels,
           cairn_noun(dataset->train.channels, "channel", "channels"), dataset->train.height,
           dataset->train.width);
    char left_out[2048];
    if (*cairn_left_out_describe(&dataset->left_out, left_out, sizeof left_out))
        printf("%s\n", left_out);
    printf("memory    %.1f MB\n",
           1e-6 * (double)(cairn_split_bytes(&dataset->train) + cairn_split_bytes(&dataset->test)));
    printf("sha256    %s\n\n", digest);
    printf("class             train   test\n");
    for (int label = 0; label < dataset->classes; label++)
        printf("%3d %-12s %6d %6d\n", label, dataset->class_names[label], counts[0][label],
               counts[1][label]);
    cairn_dataset_destroy(dataset);
    return CAIRN_OK;
}

/* Two pixels a character cell: the upper half-block's two colours. */
static void print_colours(const uint8_t *image, int height, int width) {
    int plane = height * width;
    for (int y = 0; y + 1 < height; y += 2) {
        for (int x = 0; x < width; x++) {
            const uint8_t *top = image + y * width + x, *low = top + width;
            printf("\033[38;2;%d;%d;%dm\033[48;2;%d;%d;%dm\xe2\x96\x80", top[0], top[plane],
                   top[2 * plane], low[0], low[plane], low[2 * plane]);
        }
        puts("\033[0m");
    }
}

/* Two characters a pixel, by luminance (ITU-R BT.601), from dark to light. */
static void print_characters(const uint8_t *image, int height, int width) {
    static const char ramp[] = " .:-=+*#%@";
    int plane = height * width;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            const uint8_t *p = image + y * width + x;
            int luminance = (299 * p[0] + 587 * p[plane] + 114 * p[2 * plane]) / 1000;
            char shade = ramp[luminance * ((int)sizeof ramp - 1) / 256];
            putchar(shade);
            putchar(shade);
        }
        putchar('\n');
    }
}

/* A picture in another format than its name has would only be found out by its readers. */
static cairn_status check_ending(const char *path) {
    static const char *const others[] = {".jpg", ".jpeg", ".webp", ".bmp",
                                         ".gif", ".tif",  ".tiff", ".ppm"};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof others / sizeof others[0]; i++)
        if (strcasecmp(dot, others[i]) == 0)
            return cairn_error_set(CAIRN_BAD_INPUT,
                                   "--out: '%s': only PNG is written; write %.*s.png", path,
                                   (int)(dot - path), path);
    return CAIRN_OK;
}

static cairn_status show_sheet(const data_arguments *arguments, const char *number) {
    cairn_dataset *dataset = NULL;
    cairn_config config;
    long first = 0, count = 0, epochs = 0;
    cairn_status status =
        arguments->split ? cairn_error_set(CAIRN_BAD_INPUT,
                                           "--out shows training images only: leave --split out")
                         : check_ending(arguments->out);
    if (!status)
        status = open_dataset(&dataset, &config, arguments);
    if (status)
        return status;
    int last = dataset->train.count - 1;
    status = cairn_argument_integer("N", number, 0, last, &first);
    if (!status)
        status = cairn_argument_integer("--count", arguments->count ? arguments->count : "8", 1,
                                        100, &count);
    if (!status)
        status = cairn_argument_integer("--epochs", arguments->epochs ? arguments->epochs : "8", 1,
                                        100, &epochs);
    if (count > last + 1 - first)
        count = last + 1 - first;
    const cairn_sheet sheet = {arguments->out, (int)first, (int)count, (int)epochs};
    if (!status)
        status = cairn_sheet_write(&sheet, &config, dataset);
    cairn_dataset_destroy(dataset);
    return status;
}

static cairn_status show(const data_arguments *arguments, const char *number) {
    const char *name = arguments->split ? arguments->split : "train";
    if (strcmp(name, "train") != 0 && strcmp(name, "test") != 0)
        return cairn_error_set(CAIRN_BAD_INPUT, "--split: '%s' is neither train nor test", name);
    cairn_dataset *dataset = NULL;
    cairn_config config;
    cairn_status status = open_dataset(&dataset, &config, arguments);
    if (status)
        return status;
    const cairn_split *split = name[1] == 'r' ? &dataset->train : &dataset->test;
    long sample;
    status = cairn_argument_integer("N", number, 0, split->count - 1, &sample);
    if (!status) {
        int label = split->labels[sample];
        const uint8_t *image =
            split->images + (size_t)sample * 3 * (size_t)split->height * (size_t)split->width;
        printf("%s %s %ld: %d %s\n", dataset->name, name, sample, label,
               dataset->class_names[label]);
        if (isatty(STDOUT_FILENO) && !getenv("NO_COLOR"))
            print_colours(image, split->height, split->width);
        else
            print_characters(image, split->height, split->width);
    }
    cairn_dataset_destroy(dataset);
    return status;
}

static cairn_status run(int argc, char **argv) {
    data_arguments arguments = {0};
    const cairn_option options[] = {
        {"name", NULL, &arguments.name},   {"from", NULL, &arguments.from},
        {"md5", NULL, &arguments.md5},     {"sha256", NULL, &arguments.sha256},
        {"dir", NULL, &arguments.dir},     {"split", NULL, &arguments.split},
        {"quiet", &arguments.quiet, NULL}, {"out", NULL, &arguments.out},
        {"count", NULL, &arguments.count}, {"epochs", NULL, &arguments.epochs},
    };
    const char **words = calloc((size_t)argc, sizeof *words);
    size_t count = 0;
    if (!words)
        return cairn_error_set(CAIRN_FAILED, "out of memory");
    cairn_status status = cairn_arguments_parse(
        argc, argv, options, sizeof options / sizeof options[0], &arguments.common, words, &count);
    bool shows = count > 0 && strcmp(words[0], "show") == 0;
    size_t wanted = shows ? 2 : 1; /* then params.yaml, perhaps */
    if (!status && (count < wanted || count > wanted + 1))
        status = cairn_error_set(
            CAIRN_BAD_INPUT,
            shows ? "data show needs the number of one image; see `cairn data --help`"
                  : "data needs get, check or show; see `cairn data --help`");
    if (!status && count > wanted)
        arguments.common.params = words[wanted];
    if (!status && strcmp(words[0], "get") == 0)
        status = get(&arguments);
    else if (!status && strcmp(words[0], "check") == 0)
        status = check(&arguments);
    else if (!status && shows)
        status = (arguments.out ? show_sheet : show)(&arguments, words[1]);
    else if (!status)
        status = cairn_error_set(
            CAIRN_BAD_INPUT, "data: '%s' is neither get, check nor show; see `cairn data --help`",
            words[0]);
    free(words);
    return status;
}

const cairn_command cairn_command_data = {"data", "get, check or show the data set", help, run};
