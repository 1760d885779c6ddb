/* Whole files and folders: read, write so that no reader ever sees half a file, make folders. */
#ifndef CAIRN_FILE_H
#define CAIRN_FILE_H

#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Reads a whole file into memory that the caller frees. A zero byte follows the last one, so that
 * text can be used as a C string; `size` does not count it. A missing file is CAIRN_BAD_INPUT. */
cairn_status cairn_file_read(const char *path, uint8_t **data, size_t *size);

/* The same of a file of at most so many bytes: a longer one is CAIRN_BAD_INPUT before any memory is
 * taken for it. */
cairn_status cairn_file_read_at_most(const char *path, size_t most, uint8_t **data, size_t *size);

/* The first `count` bytes of a file, and how long it is; a shorter one gives what it has. */
cairn_status cairn_file_read_begin(const char *path, void *out, size_t count, uint64_t *size);

/* Writes a whole file atomically: temporary file beside it, fsync, rename, fsync of the folder.
 * After a failure `path` is as it was, or the new file where the folder's fsync is what failed; the
 * temporary file is gone. */
cairn_status cairn_file_write(const char *path, const void *data, size_t size);

/* The same of several pieces of memory, one after another. Changes `parts`, not what they name. */
cairn_status cairn_file_write_parts(const char *path, struct iovec *parts, size_t count);

/* Writes what a user asked for, where the user said: what is no file (a device, a pipe) is written
 * into, links are followed, and a file is replaced atomically and keeps its mode. */
cairn_status cairn_file_write_output(const char *path, const void *data, size_t size);
cairn_status cairn_file_write_output_parts(const char *path, struct iovec *parts, size_t count);

/* Makes `kept` another name of the file at `path`, in place of an earlier one, so that it stays
 * when `path` is written anew. Copies it where the file system has no hard links. Nothing when
 * there is no file. */
cairn_status cairn_file_keep(const char *path, const char *kept);

/* Removes the temporary files that cairn_file_write and cairn_file_keep leave beside `path` when
 * the process is killed. */
void cairn_file_sweep(const char *path);

/* mkdir -p; what it made stays when the power fails. */
cairn_status cairn_folder_make(const char *path);

bool cairn_file_exists(const char *path);
bool cairn_folder_exists(const char *path);

/* Formats a path into `out` (of `size` bytes); too long is CAIRN_BAD_INPUT. */
cairn_status cairn_path_format(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
