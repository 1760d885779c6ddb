/* Inside host/cli: what start.c, which runs on any processor, knows of how the rest was compiled.
 */
#ifndef CAIRN_HOST_CLI_START_H
#define CAIRN_HOST_CLI_START_H

/* The features that the compiler may have used without being asked to, by gcc's names; NULL ends
 * them. */
extern const char *const cairn_built_for[];

#endif
