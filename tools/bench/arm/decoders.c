/* Decodes the streams of a file, each once, and asks for the time before and after each: `count.c` counts what lies between.
 *
 * A stream is the bytes that it and its array have (4 each), then its own. Prints the Adler-32 of each array, which is counted
 * too, as a state's maker looks at it, or "damaged". */
#define _GNU_SOURCE /* syscall */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "decode.h"

static void mark(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
}

static int decode(FILE *file, uint32_t coded, uint32_t bytes) {
    rt_scratch *scratch = malloc(sizeof *scratch);
    unsigned char *stream = malloc(coded), *out = malloc(bytes);
    uint32_t sum = 0;
    int sound = scratch && stream && out && fread(stream, 1, coded, file) == coded;
    if (sound) {
        rt_span in = {stream, stream + coded};
        mark();
        sound = rt_decode(in, out, bytes, scratch, sizeof *scratch);
        sum = rt_adler(out, bytes);
        mark();
    }
    if (sound) printf("%u\n", (unsigned)sum);
    else puts("damaged");
    free(scratch);
    free(stream);
    free(out);
    return sound;
}

int main(int count, char **words) {
    FILE *file = count == 2 ? fopen(words[1], "rb") : NULL;
    unsigned char head[8];
    if (!file) return 1;
    while (fread(head, 1, sizeof head, file) == sizeof head)
        if (!decode(file, rt_u32(head), rt_u32(head + 4))) return 1;
    fclose(file);
    return 0;
}
