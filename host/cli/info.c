/* `cairn info`: what this build is and what it can use here. Everything is gathered into one JSON
 * object, which is printed as it is or as text. */
#include "cli.h"

#include "cairn/executor.h"
#include "cairn/json.h"
#include "cairn/provenance.h"
#include "cairn/threads.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>
#ifdef CAIRN_WITH_FETCH
#include <archive.h>
#include <curl/curl.h>
#endif

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void add_backend(cJSON *list, const cairn_backend *backend) {
    char description[256];
    cJSON *entry = cJSON_CreateObject();
    bool available = backend->probe() == CAIRN_OK;
    cJSON_AddItemToArray(list, entry);
    cJSON_AddStringToObject(entry, "name", backend->name);
    cJSON_AddBoolToObject(entry, "available", available);
    if (!available) {
        cJSON_AddStringToObject(entry, "reason", cairn_error_message());
        return;
    }
    cJSON_AddStringToObject(entry, "description",
                            backend->describe(description, sizeof description));
    cJSON *precisions = cJSON_AddArrayToObject(entry, "precisions");
    for (int precision = 0; precision < CAIRN_PRECISIONS; precision++)
        if (backend->supports((cairn_precision)precision))
            cJSON_AddItemToArray(
                precisions, cJSON_CreateString(cairn_precision_name((cairn_precision)precision)));
    if (!backend->devices)
        return;
    cJSON *devices = cJSON_AddArrayToObject(entry, "devices");
    for (int device = 0; device < backend->devices(); device++)
        cJSON_AddItemToArray(devices, cJSON_CreateString(backend->describe_device(
                                          device, description, sizeof description)));
}

#if !defined CAIRN_WITH_ONEDNN || !defined CAIRN_WITH_CUDA
static void add_absent_backend(cJSON *list, const char *name, const char *reason) {
    cJSON *entry = cJSON_CreateObject();
    cJSON_AddItemToArray(list, entry);
    cJSON_AddStringToObject(entry, "name", name);
    cJSON_AddBoolToObject(entry, "available", false);
    cJSON_AddStringToObject(entry, "reason", reason);
}
#endif

static void add_libraries(cJSON *info) {
    cJSON *libraries = cJSON_AddObjectToObject(info, "libraries");
    cJSON_AddStringToObject(libraries, "libyaml", yaml_get_version_string());
    cJSON_AddStringToObject(libraries, "cJSON", cJSON_Version());
    cJSON_AddStringToObject(libraries, "OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING));
#ifdef CAIRN_WITH_FETCH
    cJSON_AddStringToObject(libraries, "libcurl", curl_version_info(CURLVERSION_NOW)->version);
    cJSON_AddStringToObject(libraries, "libarchive",
                            archive_version_string() + strlen("libarchive "));
#endif
}

static cJSON *gather(void) {
    char processor[256];
    const char *limit = NULL;
    cJSON *info = cJSON_CreateObject();
    cJSON_AddStringToObject(info, "version", CAIRN_VERSION);
    cJSON_AddStringToObject(info, "compiler", COMPILER);
    cJSON_AddStringToObject(info, "flags", CAIRN_BUILD_FLAGS);
    cairn_processor_name(processor, sizeof processor);
    cJSON_AddStringToObject(info, "processor", processor);
    cJSON_AddNumberToObject(info, "threads", cairn_threads_available(&limit));
    cJSON_AddStringToObject(info, "threads_limit", limit);
    cJSON *backends = cJSON_AddArrayToObject(info, "backends");
    for (const cairn_backend *const *backend = cairn_backends(); *backend; backend++)
        add_backend(backends, *backend);
#ifndef CAIRN_WITH_ONEDNN
    add_absent_backend(backends, "cpu", "built without oneDNN");
#endif
#ifndef CAIRN_WITH_CUDA
    add_absent_backend(backends, "cuda", "built without CUDA and cuDNN");
#endif
    add_libraries(info);
    return info;
}

static const char *text_of(const cJSON *object, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static void print_text(const cJSON *info) {
    const cJSON *entry, *item;
    printf("cairn %s\n", text_of(info, "version"));
    printf("%-11s %s, %s\n", "compiler", text_of(info, "compiler"), text_of(info, "flags"));
    printf("%-11s %s\n", "processor", text_of(info, "processor"));
    printf("%-11s %d: %s\n", "threads", cJSON_GetObjectItem(info, "threads")->valueint,
           text_of(info, "threads_limit"));
    printf("%-11s", "libraries");
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(info, "libraries"))
        printf(" %s %s%s", item->string, item->valuestring, item->next ? "," : "\n");
    puts("backends, fastest first");
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(info, "backends")) {
        printf("  %-9s ", text_of(entry, "name"));
        if (text_of(entry, "reason")) {
            printf("not available: %s\n", text_of(entry, "reason"));
            continue;
        }
        printf("%s;", text_of(entry, "description"));
        cJSON_ArrayForEach(item, cJSON_GetObjectItem(entry, "precisions"))
            printf(" %s%s", item->valuestring, item->next ? "," : "\n");
        int device = 0;
        cJSON_ArrayForEach(item, cJSON_GetObjectItem(entry, "devices"))
            printf("    cuda:%d  %s\n", device++, item->valuestring);
    }
}

static cairn_status run(int argc, char **argv) {
    bool json = false;
    const cairn_option options[] = {{"json", &json, NULL}};
    const char *positionals[argc];
    size_t count;
    cairn_status status = cairn_arguments_parse(argc, argv, options, 1, NULL, positionals, &count);
    if (status)
        return status;
    if (count)
        return cairn_error_set(CAIRN_BAD_INPUT, "unexpected '%s'; see `cairn info --help`",
                               positionals[0]);
    cJSON *info = gather();
    char *text = cairn_json_format(info);
    if (!text)
        status = cairn_error_set(CAIRN_FAILED, "out of memory");
    else if (json)
        fputs(text, stdout);
    else
        print_text(info);
    free(text);
    cJSON_Delete(info);
    return status;
}

const cairn_command cairn_command_info = {
    "info", "show version, backends, devices and libraries",
    "usage: cairn info [--json]\n"
    "\n"
    "Shows the version, how it was built, the processor, the libraries, and for each backend\n"
    "whether it can run here, on what, and in which precisions.\n"
    "\n"
    "  --json          print one JSON object instead of text\n",
    run};
