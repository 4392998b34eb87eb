/* Options of older and newer callers: each in a block of exactly its size, so that a sanitizer sees what is read. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secateur.h"

/* What a caller says whose header has `size` bytes of options and who sets byte `mark` of them, if any. */
static secateur_status create(size_t size, size_t mark, secateur_state **state) {
    const secateur_options ours = {.size = size, .threads = 3};
    unsigned char *given = calloc(1, size > sizeof size ? size : sizeof size);
    if (!given) abort();
    memcpy(given, &ours, size >= sizeof size && size < sizeof ours ? size : size < sizeof size ? sizeof size : sizeof ours);
    if (mark) given[mark] = 1;
    secateur_status status = secateur_create((const secateur_options *)given, state);
    free(given);
    return status;
}

static void expect(secateur_status wanted, size_t size, size_t mark) {
    secateur_state *state = (secateur_state *)&state;
    secateur_status status = create(size, mark, &state);
    if (status != wanted || (status != SECATEUR_OK && state)) {
        printf("size %zu, mark %zu: status %d\n", size, mark, (int)status);
        exit(1);
    }
    secateur_free(state);
}

static int is_version(size_t size) {
    return size == offsetof(secateur_options, threads) || size == offsetof(secateur_options, arena) ||
           size == offsetof(secateur_options, arena_bytes) || size == offsetof(secateur_options, weights) ||
           size == offsetof(secateur_options, weights_bytes) || size == offsetof(secateur_options, gpu) || size == offsetof(secateur_options, cpus) ||
           size == offsetof(secateur_options, cpu_count) || size >= sizeof(secateur_options);
}

/* Threads run where they may; a processor that is not there is no place. */
static void expect_places(void) {
    static const int32_t nowhere[] = {1000}, none[] = {-1};
    int32_t here[] = {0};
    cpu_set_t ours;
    if (sched_getaffinity(0, sizeof ours, &ours) != 0) abort();
    while (!CPU_ISSET(here[0], &ours)) here[0]++;
    const struct {
        const int32_t *cpus;
        uint64_t count;
        secateur_status wanted;
    } cases[] = {{here, 1, SECATEUR_OK},
                 {here, 0, SECATEUR_OK},
                 {nowhere, 1, SECATEUR_ERROR_THREAD},
                 {none, 1, SECATEUR_ERROR_THREAD},
                 {NULL, 1, SECATEUR_ERROR_ARGUMENT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        secateur_options options = SECATEUR_OPTIONS_INIT;
        secateur_state *state;
        options.threads = 2;
        options.cpus = cases[i].cpus;
        options.cpu_count = cases[i].count;
        secateur_status status = secateur_create(&options, &state);
        if (status != cases[i].wanted) {
            printf("places %zu: status %d\n", i, (int)status);
            exit(1);
        }
        secateur_free(state);
    }
}

int main(void) {
    enum { MOST = 4096 };
    for (size_t size = 0; size <= MOST; size++) expect(is_version(size) ? SECATEUR_OK : SECATEUR_ERROR_OPTIONS, size, 0);
    for (size_t mark = sizeof(secateur_options); mark < 100; mark++) {
        expect(SECATEUR_ERROR_OPTIONS, mark + 1, mark);
        expect(SECATEUR_ERROR_OPTIONS, MOST, mark);
    }
    expect(SECATEUR_ERROR_OPTIONS, sizeof(secateur_options), offsetof(secateur_options, gpu)); /* of a GPU's models */
    expect(SECATEUR_ERROR_OPTIONS, MOST + 1, 0);
    secateur_options absurd = SECATEUR_OPTIONS_INIT;
    secateur_state *state;
    absurd.size = (size_t)-1;
    if (secateur_create(&absurd, &state) != SECATEUR_ERROR_OPTIONS) return 1;
    expect_places();
    puts(secateur_message(SECATEUR_ERROR_OPTIONS));
    return 0;
}
