/* Inside host/base: what was written stays when the power fails. */
#ifndef CAIRN_HOST_BASE_SYNC_H
#define CAIRN_HOST_BASE_SYNC_H

/* fsync, where the file system knows how to: -1 and errno. */
int cairn_sync(int fd);

/* The folder that holds `path`: a name in it is durable only once it is. */
int cairn_sync_folder_of(const char *path);

/* Splits a path: its folder into `folder` [PATH_MAX], ending in a slash or ".". Returns the name.
 */
const char *cairn_split_path(const char *path, char *folder);

#endif
