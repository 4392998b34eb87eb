/* Many states in many threads, each with a pool, made and freed again and again; answers compared. */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "secateur.h"

enum { STATES = 3, ROUNDS = 6, RUNS = 40 };

static float *image;
static float *wanted;

static void run(secateur_state *state, float *scores, float *totals) {
    const void *inputs[] = {image};
    void *outputs[] = {scores, totals};
    if (secateur_run(state, inputs, outputs) != SECATEUR_OK) abort();
}

static void *user(void *argument) {
    size_t bytes = (size_t)secateur_output(0)->bytes;
    float *scores = malloc(bytes), *totals = malloc((size_t)secateur_output(1)->bytes);
    for (int round = 0; round < ROUNDS; round++) {
        secateur_state *state;
        secateur_options options = {.size = sizeof options, .threads = 1 + (round + *(int *)argument) % 4};
        if (secateur_create(&options, &state) != SECATEUR_OK) abort();
        for (int i = 0; i < RUNS; i++) {
            memset(scores, 0xff, bytes);
            run(state, scores, totals);
            if (memcmp(scores, wanted, bytes) != 0) abort();
            if (i % 10 == 0) usleep(300); /* long enough for workers to fall asleep */
        }
        secateur_free(state);
    }
    free(scores);
    free(totals);
    return NULL;
}

int main(void) {
    size_t count = (size_t)secateur_input(0)->bytes / sizeof(float);
    image = malloc(count * sizeof(float));
    wanted = malloc((size_t)secateur_output(0)->bytes);
    float *totals = malloc((size_t)secateur_output(1)->bytes);
    for (size_t i = 0; i < count; i++) image[i] = (float)(i % 17) - 8;
    secateur_state *state;
    if (secateur_create(NULL, &state) != SECATEUR_OK) abort();
    run(state, wanted, totals);
    secateur_free(state);
    pthread_t threads[STATES];
    int numbers[STATES];
    for (int i = 0; i < STATES; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, user, &numbers[i]);
    }
    for (int i = 0; i < STATES; i++) pthread_join(threads[i], NULL);
    free(image);
    free(wanted);
    free(totals);
    puts("ok");
    return 0;
}
