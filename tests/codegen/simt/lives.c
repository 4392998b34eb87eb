/* A model on a GPU, loaded and run while the driver's first call fails, then its second, ...: nothing may be left.
 *
 *     lives MODEL.so INPUT EXPECTED STEP
 *
 * INPUT is the bare bytes of the model's input, EXPECTED those of its output.
 * Of the calls every STEP-th fails in turn. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secateur.h"

enum { LIMIT = 1000, FEW = 20 };

static void *driver, *model;
static unsigned char *input, *expected, *output;
static size_t input_bytes, output_bytes;

static const char *said = ""; /* last */
static int number = -1;       /* of the call that fails */

static void fail(const char *what, const char *why) {
    printf("%s: %s (call %d, said: %s)\n", what, why, number, said);
    exit(1);
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) fail(name, "is missing");
    return found;
}

#define CALL(library, type, name, ...) ((type)symbol(library, name))(__VA_ARGS__)

static unsigned char *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    unsigned char *data = malloc(1 << 20);
    if (!file || !data) fail(path, "cannot be read");
    *bytes = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

/* A failure has to be said; a run that succeeds has to be right. */
static int survives(secateur_status status, int computed) {
    if (status != SECATEUR_OK) {
        said = CALL(model, const char *(*)(secateur_status), "secateur_message", status);
        if (strlen(said) < FEW) fail("no sentence", said);
        return 0;
    }
    if (computed && memcmp(output, expected, output_bytes) != 0) fail("the answer", "is wrong");
    return 1;
}

/* Made, run, profiled, run and freed; whether nothing was said to have failed. */
static int live(uint64_t gpu, int64_t *ns) {
    secateur_options options = SECATEUR_OPTIONS_INIT;
    secateur_state *state = NULL;
    const void *inputs[] = {input};
    void *outputs[] = {output};
    options.gpu = gpu;
    memset(output, 0, output_bytes);
    int good = survives(CALL(model, secateur_status (*)(const secateur_options *, secateur_state **), "secateur_create", &options, &state), 0);
    if (good != (state != NULL)) fail("a state", "is there although it could not be made");
    typedef secateur_status (*run)(secateur_state *, const void *const *, void *const *);
    typedef secateur_status (*profile)(secateur_state *, const void *const *, void *const *, int64_t *);
    if (good) good &= survives(CALL(model, run, "secateur_run", state, inputs, outputs), 1);
    if (state) good &= survives(CALL(model, profile, "secateur_profile", state, inputs, outputs, ns), 1);
    if (state) good &= survives(CALL(model, run, "secateur_run", state, inputs, outputs), 1);
    CALL(model, void (*)(secateur_state *), "secateur_free", state);
    return good;
}

static void check_sizes(void) {
    typedef const secateur_tensor *(*port)(int32_t);
    if (CALL(model, port, "secateur_input", 0)->bytes != input_bytes) fail("INPUT", "has another size");
    if (CALL(model, port, "secateur_output", 0)->bytes != output_bytes) fail("EXPECTED", "has another size");
}

int main(int argc, char **argv) {
    if (argc != 5) fail("usage", "lives MODEL.so INPUT EXPECTED STEP");
    driver = dlopen("libcuda.so.1", RTLD_NOW);
    model = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!driver || !model) fail("dlopen", dlerror());
    input = read_file(argv[2], &input_bytes), expected = read_file(argv[3], &output_bytes), output = malloc(output_bytes);
    check_sizes();
    int64_t *ns = calloc((size_t)CALL(model, int32_t (*)(void), "secateur_operator_count") + 1, sizeof *ns);
    for (uint64_t gpu = 0; gpu < 4; gpu++) {
        CALL(driver, void (*)(const char *, int, int), "simt_fail", "", INT_MAX, 0);
        if (!live(gpu, ns)) fail("a run", "failed");
        number = 0;
        for (int failed = 1; failed; number += atoi(argv[4])) {
            CALL(driver, void (*)(const char *, int, int), "simt_fail", "", number, number % 2 ? 2 : 719);
            live(gpu, ns);
            failed = CALL(driver, int (*)(void), "simt_failed");
            if (CALL(driver, int64_t (*)(void), "simt_live")) fail("something", "is left on the GPU");
            if (number > LIMIT) fail("calls", "come to no end");
        }
    }
    free(ns), free(input), free(expected), free(output);
    puts("ok");
    return 0;
}
