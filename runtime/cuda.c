/* CUDA's driver, opened when the first state is made: a model loads where there is none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "cuda.h"

static rt_cuda table;
static const char *absent; /* the function that the driver lacks */
static int found;

typedef struct row {
    const char *name;
    void *slot;
} row;

#define CU_ROW(name, symbol, parameters) {symbol, &table.name},
static const row rows[] = {CU_FUNCTIONS(CU_ROW)};
static const row graph_rows[] = {CU_GRAPH_FUNCTIONS(CU_ROW)};
#undef CU_ROW

/* The first function that the library lacks, or null. */
static const char *fill(void *library, const row *wanted, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function) return wanted[i].name;
        *(void **)wanted[i].slot = function;
    }
    return NULL;
}

static void look_up(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL); /* never closed: drivers do not bear it */
    if (!library) return;
    absent = fill(library, rows, sizeof rows / sizeof *rows);
    table.has_graphs = !fill(library, graph_rows, sizeof graph_rows / sizeof *graph_rows);
    found = !absent;
}

const rt_cuda *rt_cuda_driver(const char **missing) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, look_up);
    *missing = absent;
    return found ? &table : NULL;
}
