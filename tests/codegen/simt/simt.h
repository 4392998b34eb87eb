/* What the emulator's two halves share: threads (simt.c) and the driver's interface (driver.c). */
#ifndef SIMT_H
#define SIMT_H

#include <stdint.h>

#define API __attribute__((visibility("default")))

enum { MOST_POINTERS = 130 };
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, NO_BINARY = 209, INVALID_PTX = 218,
       UNSUPPORTED_PTX = 222, NOT_FOUND = 500, LAUNCH_FAILED = 719, NOT_SUPPORTED = 801, CAPTURING = 900 };

typedef void (*entry)(void **parameters);

/* Its parameters are pointers, then a number of 32 bits. */
typedef struct kernel {
    const char *name;
    entry run;
    int collective, pointers;
} kernel;

/* What tests set. */
typedef struct settings {
    int devices, capability, driver, ptx; /* 72 is sm_72; 12020 is CUDA 12.2; 82 is PTX 8.2 */
    uint64_t memory;
    int order;  /* of fibers: 0 up, 1 down, else a seed */
    int graphs; /* whether the driver has them */
    int late;   /* whether a stream's work is done when it is waited for, not before */
} settings;

extern settings config;

kernel *find_kernel(const char *name);
int run_kernel(const kernel *called, unsigned grid, unsigned block, void **parameters);

#endif
