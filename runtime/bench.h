/* Reading, inventing and writing the tensors of the bench program. */
#ifndef SECATEUR_BENCH_H
#define SECATEUR_BENCH_H

#include "secateur.h"

/* Each returns null, or a sentence that says what is wrong. */
const char *bench_read(const char *path, const secateur_tensor *tensor, void *data);
const char *bench_write(const char *path, const secateur_tensor *tensor, const void *data);

/* The same numbers on every machine: floats in [-1, 1), small integers, booleans. */
void bench_fill(const secateur_tensor *tensor, void *data, uint64_t seed);

#endif
