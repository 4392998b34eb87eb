/* bench: runs the model that is linked with it, times it, and says where the time goes. */
#define _POSIX_C_SOURCE 200112L
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_FILES = 64, USAGE = 2 };

typedef struct arguments {
    int32_t threads, iterations, warmup, json;
    int32_t inputs, outputs; /* files named so far */
    const char *input[MAX_FILES], *output[MAX_FILES];
} arguments;

static const char usage[] =
    "usage: %s [options]\n"
    "  --threads N      threads, the caller's included (1)\n"
    "  --iterations N   timed runs (20)\n"
    "  --warmup N       runs before them (3)\n"
    "  --input FILE     .npy or raw bytes, once per input in order; random numbers otherwise\n"
    "  --output FILE    where to write an output, once per output in order\n"
    "  --json           one JSON object on stdout\n";

_Noreturn static void fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(USAGE);
}

static int32_t number(const char *option, const char *text, long least) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < least || value > 1000000) fail(option, "needs a number in range");
    return (int32_t)value;
}

static void add_file(const char *option, const char **files, int32_t *count, int32_t limit, const char *path) {
    if (*count >= limit || *count >= MAX_FILES) fail(option, "given more often than the model has tensors");
    files[(*count)++] = path;
}

static void take(arguments *args, const char *option, const char *value) {
    if (strcmp(option, "--threads") == 0) args->threads = number(option, value, 1);
    else if (strcmp(option, "--iterations") == 0) args->iterations = number(option, value, 1);
    else if (strcmp(option, "--warmup") == 0) args->warmup = number(option, value, 0);
    else if (strcmp(option, "--input") == 0) add_file(option, args->input, &args->inputs, secateur_input_count(), value);
    else if (strcmp(option, "--output") == 0)
        add_file(option, args->output, &args->outputs, secateur_output_count(), value);
    else fail(option, "unknown option; see --help");
}

static void parse(arguments *args, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf(usage, argv[0]);
            exit(0);
        }
        if (strcmp(argv[i], "--json") == 0) args->json = 1;
        else if (i + 1 == argc) fail(argv[i], "unknown option, or its value is missing; see --help");
        else take(args, argv[i], argv[i + 1]), i++;
    }
}

static void *allocate(uint64_t bytes) {
    void *data = calloc(1, (size_t)bytes + 1);
    if (!data) fail("memory", "cannot be allocated");
    return data;
}

static void **make_inputs(const arguments *args) {
    void **data = allocate((uint64_t)secateur_input_count() * sizeof(void *));
    for (int32_t i = 0; i < secateur_input_count(); i++) {
        const secateur_tensor *tensor = secateur_input(i);
        data[i] = allocate(tensor->bytes);
        const char *error = NULL;
        if (i < args->inputs) error = bench_read(args->input[i], tensor, data[i]);
        else bench_fill(tensor, data[i], (uint64_t)i + 1);
        if (error) fail(args->input[i], error);
    }
    return data;
}

static void **make_outputs(void) {
    void **data = allocate((uint64_t)secateur_output_count() * sizeof(void *));
    for (int32_t i = 0; i < secateur_output_count(); i++) data[i] = allocate(secateur_output(i)->bytes);
    return data;
}

static void write_outputs(const arguments *args, void **outputs) {
    for (int32_t i = 0; i < args->outputs; i++) {
        const char *error = bench_write(args->output[i], secateur_output(i), outputs[i]);
        if (error) fail(args->output[i], error);
    }
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void check(secateur_status status) {
    if (status != SECATEUR_OK) fail(secateur_model_name(), secateur_message(status));
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted nanoseconds of the timed runs. */
static int64_t *measure(const arguments *args, secateur_state *state, void **inputs, void **outputs) {
    int64_t *times = allocate((uint64_t)args->iterations * sizeof *times);
    for (int32_t i = -args->warmup; i < args->iterations; i++) {
        int64_t begin = now();
        check(secateur_run(state, (const void *const *)inputs, outputs));
        if (i >= 0) times[i] = now() - begin;
    }
    qsort(times, (size_t)args->iterations, sizeof *times, by_time);
    return times;
}

static void json_string(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 32) printf("\\u%04x", c);
        else printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    putchar('"');
}

static void print_json(const arguments *args, int64_t load, const int64_t *times, const int64_t *profile) {
    int32_t last = args->iterations - 1;
    printf("{\"model\": ");
    json_string(secateur_model_name());
    printf(", \"threads\": %d, \"iterations\": %d, \"arena_bytes\": %" PRIu64, args->threads, args->iterations,
           secateur_arena_bytes(args->threads));
    printf(", \"load_ns\": %" PRId64, load);
    printf(", \"ns\": {\"min\": %" PRId64 ", \"median\": %" PRId64 ", \"p90\": %" PRId64 "}, \"operators\": [",
           times[0], times[last / 2], times[last * 9 / 10]);
    for (int32_t i = 0; i < secateur_operator_count(); i++) {
        const secateur_operator *op = secateur_operator_at(i);
        printf("%s{\"label\": ", i ? ", " : "");
        json_string(op->label);
        printf(", \"operator\": ");
        json_string(op->name);
        printf(", \"ns\": %" PRId64 ", \"macs\": %" PRIu64 "}", profile[i], op->macs);
    }
    printf("]}\n");
}

static void print_table(const arguments *args, int64_t load, const int64_t *times, const int64_t *profile) {
    int32_t last = args->iterations - 1;
    int64_t total = 0;
    for (int32_t i = 0; i < secateur_operator_count(); i++) total += profile[i];
    printf("%s: %d thread%s, %d runs, arena %" PRIu64 " bytes\n", secateur_model_name(), args->threads,
           args->threads > 1 ? "s" : "", args->iterations, secateur_arena_bytes(args->threads));
    printf("min %.3f ms   median %.3f ms   p90 %.3f ms   load %.3f ms\n\n", (double)times[0] / 1e6,
           (double)times[last / 2] / 1e6, (double)times[last * 9 / 10] / 1e6, (double)load / 1e6);
    printf("%10s %6s %8s  operator\n", "us", "%", "GMAC/s");
    for (int32_t i = 0; i < secateur_operator_count(); i++) {
        const secateur_operator *op = secateur_operator_at(i);
        double ns = profile[i] > 0 ? (double)profile[i] : 1;
        printf("%10.1f %6.1f %8.2f  %s %s\n", ns / 1e3, 100 * ns / (double)(total > 0 ? total : 1), (double)op->macs / ns,
               op->name, op->label);
    }
}

int main(int argc, char **argv) {
    arguments args = {.threads = 1, .iterations = 20, .warmup = 3};
    parse(&args, argc, argv);
    secateur_state *state;
    secateur_options options = SECATEUR_OPTIONS_INIT;
    options.threads = args.threads;
    int64_t begin = now();
    check(secateur_create(&options, &state));
    int64_t load = now() - begin;
    void **inputs = make_inputs(&args), **outputs = make_outputs();
    int64_t *times = measure(&args, state, inputs, outputs);
    int64_t *profile = allocate((uint64_t)secateur_operator_count() * sizeof *profile);
    check(secateur_profile(state, (const void *const *)inputs, outputs, profile));
    write_outputs(&args, outputs);
    (args.json ? print_json : print_table)(&args, load, times, profile);
    secateur_free(state);
    return 0;
}
