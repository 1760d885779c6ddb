/* Getting CIFAR-10 and CIFAR-100: the download by libcurl, resumable, and its verification.
 * Unpacking is unpack.c. The archive is downloaded to `<folder>/<name>.part`, and goes once it is
 * unpacked. */
#include "data.h"

#ifndef CAIRN_WITH_FETCH

cairn_status cairn_dataset_fetch(const cairn_fetch *fetch) {
    (void)fetch;
    return cairn_error_set(CAIRN_FAILED,
                           "this cairn was built without libcurl and libarchive: unpack "
                           "the archive into the data folder by hand");
}

#else

#include "cairn/clock.h"
#include "cairn/file.h"
#include "cairn/text.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The official archives. Six batches of Python's may be some 46 MB each; train.bin is 154 MB. */
static const archive_kind kinds[] = {
    {.name = "cifar10",
     .title = "CIFAR-10",
     .source = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
     .md5 = "c32a1d4ab5d03f1284b67883e8d87530",
     .folders = {"cifar-10-batches-bin", "cifar-10-batches-py"},
     .files = "six batch files",
     .file_max = (size_t)96 << 20,
     .total_max = (size_t)6 * 96 << 20,
     .complete = cairn_cifar10_complete},
    {.name = "cifar100",
     .title = "CIFAR-100",
     .source = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
     .md5 = "03b5dce01913d631647c71ecec9e9cb8",
     .folders = {"cifar-100-binary"},
     .files = "two files train.bin and test.bin",
     .file_max = (size_t)160 << 20,
     .total_max = (size_t)256 << 20,
     .complete = cairn_cifar100_complete},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

enum { ARCHIVE_MAX = 512 << 20, CONNECT_SECONDS = 30, STALL_SECONDS = 60, STALL_BYTES = 256 };

static bool stopped(const cairn_fetch *fetch) {
    return fetch->stop && *fetch->stop;
}

/* Verification -------------------------------------------------------------------------------- */

static cairn_status check_hex(const char *option, const char *hex, size_t digits) {
    if (hex && (strlen(hex) != digits || strspn(hex, "0123456789abcdefABCDEF") != digits))
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: '%s' is not a checksum of %zu hex digits",
                               option, hex, digits);
    return CAIRN_OK;
}

static cairn_status digest_file(const cairn_fetch *fetch, const char *path, const char *algorithm,
                                char hex[CAIRN_DIGEST_HEX]) {
    char block[64 << 10];
    cairn_digest *digest = NULL;
    FILE *file = fopen(path, "rb");
    if (!file)
        return cairn_error_set(errno == ENOENT ? CAIRN_BAD_INPUT : CAIRN_FAILED,
                               "%s: cannot open: %s", path, strerror(errno));
    cairn_status status = cairn_digest_begin(&digest, algorithm);
    for (size_t got; !status && (got = fread(block, 1, sizeof block, file)) > 0;)
        status = stopped(fetch)
                     ? cairn_error_set(CAIRN_INTERRUPTED, "%s: verifying was interrupted", path)
                     : cairn_digest_add(digest, block, got);
    if (!status && ferror(file))
        status = cairn_error_set(CAIRN_FAILED, "%s: cannot read: %s", path, strerror(errno));
    fclose(file);
    if (digest) {
        cairn_status ended = cairn_digest_end(digest, status ? NULL : hex);
        status = status ? status : ended;
    }
    return status;
}

/* `*wrong` tells a wrong checksum from a failure to compute it. */
static cairn_status verify(const cairn_fetch *fetch, const char *path, const char *algorithm,
                           const char *wanted, bool *wrong) {
    char found[CAIRN_DIGEST_HEX];
    if (!wanted)
        return CAIRN_OK;
    cairn_status status = digest_file(fetch, path, algorithm, found);
    if (status)
        return status;
    *wrong = strcasecmp(found, wanted) != 0;
    if (*wrong)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: wrong checksum: its %s is %s, it should be %s",
                               path, algorithm, found, wanted);
    return CAIRN_OK;
}

static cairn_status verify_both(const cairn_fetch *fetch, const char *path, bool *wrong) {
    *wrong = false;
    cairn_status status = verify(fetch, path, "md5", fetch->md5, wrong);
    return status ? status : verify(fetch, path, "sha256", fetch->sha256, wrong);
}

/* Download ------------------------------------------------------------------------------------ */

typedef struct {
    const cairn_fetch *fetch;
    CURL *curl;
    int fd;          /* of the .part */
    int64_t resumed; /* bytes that were there before */
    int64_t size;    /* bytes there now */
    bool begun;      /* the first bytes have come */
    int error;       /* errno of a failed write */
    bool drawn;      /* there is a progress line to clear */
    double begin, last;
} download;

/* libcurl's write function. A server that ignores the Range request answers 200 and sends the whole
 * archive: then what was there is dropped. */
static size_t write_part(char *data, size_t one, size_t count, void *context) {
    download *d = context;
    long code = 0;
    (void)one;
    if (!d->begun && d->resumed) {
        curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &code);
        if (code == 200) {
            if (ftruncate(d->fd, 0) != 0 || lseek(d->fd, 0, SEEK_SET) != 0) {
                d->error = errno;
                return 0;
            }
            d->resumed = d->size = 0;
        }
    }
    d->begun = true;
    if (d->size + (int64_t)count > ARCHIVE_MAX) {
        d->error = EFBIG;
        return 0;
    }
    for (size_t done = 0; done < count;) {
        ssize_t put = write(d->fd, data + done, count - done);
        if (put < 0 && errno != EINTR) {
            d->error = errno;
            return 0;
        }
        done += put < 0 ? 0 : (size_t)put;
    }
    d->size += (int64_t)count;
    return count;
}

/* libcurl's progress function; non-zero stops the transfer. */
static int show_progress(void *context, curl_off_t total, curl_off_t received, curl_off_t u,
                         curl_off_t v) {
    download *d = context;
    (void)u;
    (void)v;
    double time = cairn_clock_now();
    if (!d->fetch->quiet && total > 0 && time - d->last > 0.2 && isatty(STDERR_FILENO)) {
        double whole = (double)(total + d->resumed), rate = (double)received / (time - d->begin);
        fprintf(stderr, "\r%.1f of %.1f MB (%.0f%%), %.1f MB/s\033[K", (double)d->size * 1e-6,
                whole * 1e-6, 100 * (double)d->size / whole, rate * 1e-6);
        d->last = time;
        d->drawn = true;
    }
    return stopped(d->fetch);
}

/* Only these protocols, and no redirect from https to anything else. */
static CURLcode set_protocols(CURL *curl, const char *url) {
    bool secure = strncasecmp(url, "https:", 6) == 0;
#if LIBCURL_VERSION_NUM >= 0x075500
    CURLcode code = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https,file");
    return code ? code
                : curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
                                   secure ? "https" : "http,https");
#else
    CURLcode code = curl_easy_setopt(curl, CURLOPT_PROTOCOLS,
                                     (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS | CURLPROTO_FILE));
    return code ? code
                : curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS,
                                   (long)(CURLPROTO_HTTPS | (secure ? 0 : CURLPROTO_HTTP)));
#endif
}

static CURLcode transfer(download *d, const char *url, char *reason) {
    char range[32];
    CURL *curl = d->curl;
    CURLcode code = set_protocols(curl, url);
    if (code)
        return code;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cairn/" CAIRN_VERSION);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    const char *bundle = getenv("CURL_CA_BUNDLE"); /* as for curl: other authorities to trust */
    if (bundle && *bundle)
        curl_easy_setopt(curl, CURLOPT_CAINFO, bundle);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write_part);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, show_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, d);
    if (d->resumed) {
        snprintf(range, sizeof range, "%" PRId64 "-", d->resumed);
        curl_easy_setopt(curl, CURLOPT_RANGE, range); /* libcurl copies it */
    }
    return curl_easy_perform(curl);
}

/* What became of the transfer, in words. */
static cairn_status judge(const download *d, CURLcode code, const char *url, const char *part,
                          const char *reason) {
    long answer = 0;
    curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &answer);
    if (code == CURLE_OK)
        return CAIRN_OK;
    if (answer == 416 && d->resumed)
        return CAIRN_OK; /* nothing lies beyond what is here; the checksum will tell */
    if (code == CURLE_ABORTED_BY_CALLBACK && stopped(d->fetch))
        return cairn_error_set(CAIRN_INTERRUPTED, "%s: the download was interrupted", url);
    if (d->error)
        return cairn_error_set(d->error == EFBIG ? CAIRN_BAD_INPUT : CAIRN_FAILED,
                               "%s: cannot write: %s", part, strerror(d->error));
    char kept[80] = "";
    if (d->size > 0)
        snprintf(kept, sizeof kept, "; %" PRId64 " %s kept to resume from", d->size,
                 cairn_noun(d->size, "byte is", "bytes are"));
    return cairn_error_set(CAIRN_FAILED,
                           "%s: cannot download: %s%s; an archive that you have is taken by "
                           "--from PATH",
                           url, reason[0] ? reason : curl_easy_strerror(code), kept);
}

/* Appends to the open .part what the URL still has. */
static cairn_status download_to(download *d, const char *url, const char *part) {
    char reason[CURL_ERROR_SIZE] = "";
    d->resumed = d->size = lseek(d->fd, 0, SEEK_END);
    if (d->size < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot seek: %s", part, strerror(errno));
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return cairn_error_set(CAIRN_FAILED, "libcurl does not start");
    cairn_status status;
    d->curl = curl_easy_init();
    if (d->curl) {
        d->begin = cairn_clock_now();
        if (!d->fetch->quiet)
            fprintf(stderr, "downloading %s\n", url);
        CURLcode code = transfer(d, url, reason);
        if (d->drawn)
            fputs("\r\033[K", stderr);
        status = judge(d, code, url, part, reason);
    } else {
        status = cairn_error_set(CAIRN_FAILED, "libcurl does not start");
    }
    curl_easy_cleanup(d->curl);
    curl_global_cleanup();
    return status;
}

/* `<folder>/<last part of the URL's path>.part` */
static cairn_status part_path(char out[PATH_MAX], const char *folder, const char *url) {
    size_t length = strcspn(url, "?#");
    size_t begin = length;
    while (begin > 0 && url[begin - 1] != '/')
        begin--;
    if (begin == length)
        return cairn_error_set(CAIRN_BAD_INPUT, "%s: this address does not end in a file's name",
                               url);
    return cairn_path_format(out, PATH_MAX, "%s/%.*s.part", folder, (int)(length - begin),
                             url + begin);
}

static cairn_status fetch_url(const archive_kind *kind, const cairn_fetch *fetch, const char *url) {
    char part[PATH_MAX];
    download d = {.fetch = fetch};
    cairn_status status = part_path(part, fetch->folder, url);
    if (status)
        return status;
    /* Not through a link, which on a shared machine may be someone's trap. */
    d.fd = open(part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (d.fd < 0)
        return cairn_error_set(CAIRN_FAILED, "%s: cannot write: %s", part, strerror(errno));
    if (flock(d.fd, LOCK_EX | LOCK_NB) != 0) { /* what is there stays: it is the other's */
        status = errno == EWOULDBLOCK
                     ? cairn_error_set(CAIRN_FAILED,
                                       "%s: another process is downloading it; let that end, or "
                                       "take another --dir",
                                       part)
                     : cairn_error_set(CAIRN_FAILED, "%s: cannot lock: %s", part, strerror(errno));
        close(d.fd);
        return status;
    }
    status = download_to(&d, url, part);
    bool keep = status && d.size > 0, wrong = false; /* keep what can be resumed */
    if (!status) {
        status = verify_both(fetch, part, &wrong);
        keep = status && !wrong;
    }
    if (!status) {
        status = cairn_archive_unpack(kind, part, fetch->folder, fetch->stop);
        keep = status == CAIRN_FAILED || status == CAIRN_INTERRUPTED;
    }
    if (!keep)
        unlink(part);
    close(d.fd);
    return status;
}

/* A file of the user's, which stays as it is. */
static cairn_status fetch_file(const archive_kind *kind, const cairn_fetch *fetch,
                               const char *path) {
    bool wrong;
    if (!cairn_file_exists(path))
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: there is no such file; a source is a path or an address that "
                               "begins with http://, https:// or file://",
                               path);
    cairn_status status = verify_both(fetch, path, &wrong);
    if (!status && !fetch->md5 && !fetch->sha256 && !fetch->quiet) {
        status = verify(fetch, path, "md5", kind->md5, &wrong);
        if (wrong) {
            fprintf(stderr,
                    "%s: not the official archive of %s, and no checksum was given to verify it "
                    "by\n",
                    path, kind->title);
            status = CAIRN_OK;
        }
    }
    return status ? status : cairn_archive_unpack(kind, path, fetch->folder, fetch->stop);
}

static bool is_url(const char *source) {
    return strncasecmp(source, "http://", 7) == 0 || strncasecmp(source, "https://", 8) == 0 ||
           strncasecmp(source, "file://", 7) == 0;
}

static const archive_kind *find_kind(const char *name) {
    for (int i = 0; name && i < KINDS; i++)
        if (strcmp(name, kinds[i].name) == 0)
            return &kinds[i];
    return name ? NULL : &kinds[0];
}

cairn_status cairn_dataset_fetch(const cairn_fetch *request) {
    cairn_fetch fetch = *request;
    const archive_kind *kind = find_kind(fetch.name);
    if (!kind)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: there is nothing to get for this data set; there is for "
                               "cifar10 and cifar100",
                               fetch.name);
    cairn_status status = check_hex("--md5", fetch.md5, 32);
    if (!status)
        status = check_hex("--sha256", fetch.sha256, 64);
    if (status || kind->complete(fetch.folder))
        return status;
    if (!fetch.source) {
        fetch.source = kind->source;
        if (!fetch.md5)
            fetch.md5 = kind->md5;
    }
    bool url = is_url(fetch.source);
    if (url && !fetch.md5 && !fetch.sha256)
        return cairn_error_set(CAIRN_BAD_INPUT,
                               "%s: an address needs a checksum: give --md5 or --sha256",
                               fetch.source);
    status = cairn_folder_make(fetch.folder);
    if (!status)
        status =
            url ? fetch_url(kind, &fetch, fetch.source) : fetch_file(kind, &fetch, fetch.source);
    if (!status && !kind->complete(fetch.folder))
        return cairn_error_set(
            CAIRN_BAD_INPUT,
            "%s: the archive is unpacked, but incomplete files in another layout "
            "hide it; remove them",
            fetch.folder);
    return status;
}

#endif
