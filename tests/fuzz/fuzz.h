/* What the harnesses share. Each fuzz_<parser>.c hands one input to one parser through public
 * headers and checks what must hold of any input: that a refusal says in one printable line what is
 * wrong with it, and that what is accepted can be used. Linked with libFuzzer a harness searches
 * for new inputs (preset `fuzz`); linked with replay.c it runs the kept ones. */
#ifndef CAIRN_TESTS_FUZZ_H
#define CAIRN_TESTS_FUZZ_H

#include "cairn/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's interface: the harness defines the first, and where plain mutations would break a
 * checksum or a length, the second, by means of the third. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t capacity, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t capacity);

/* Ends the program as a find when the condition does not hold. */
void fuzz_check(bool holds, const char *what);

/* After a parser's return: a failure is CAIRN_BAD_INPUT and has a message of one line. */
void fuzz_check_status(cairn_status status);

/* A file in memory with these bytes, for parsers that take a path. The path and the file are the
 * same for every call. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* A folder of this process in $TMPDIR or /tmp, made by the first call, removed at exit. */
const char *fuzz_folder(void);

/* Opens `<fuzz_folder>/<name>` for reading and writing, making it. */
int fuzz_open(const char *name);

/* Writes all bytes at an offset. */
void fuzz_write(int fd, const void *data, size_t size, size_t offset);

/* Mutates a safetensors file such that its header's length keeps fitting. */
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t capacity, unsigned seed);

#endif
