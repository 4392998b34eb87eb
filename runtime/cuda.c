/* CUDA's driver, opened when the first state is made: a model loads where there is none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "cuda.h"

static rt_cuda table;
static const char *absent; /* the function that the driver lacks */
static int found;

static void look_up(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL); /* never closed: drivers do not bear it */
    if (!library) return;
    static const struct {
        const char *name;
        void *slot;
    } rows[] = {
#define CU_ROW(name, symbol, parameters) {symbol, &table.name},
        CU_FUNCTIONS(CU_ROW)
#undef CU_ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *function = dlsym(library, rows[i].name);
        if (!function) {
            absent = rows[i].name;
            return;
        }
        *(void **)rows[i].slot = function;
    }
    found = 1;
}

const rt_cuda *rt_cuda_driver(const char **missing) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, look_up);
    *missing = absent;
    return found ? &table : NULL;
}
