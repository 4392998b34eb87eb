/* Decodes the streams of a file, each once, and asks for the time before and after each: `count.c` counts what lies between.
 *
 * In front stands what streams have in common, behind its bytes (4). A stream is the bytes that it and its array have (4 each),
 * then its own. Prints the Adler-32 of each array, which is counted
 * too, as a state's maker looks at it, or "damaged". With a number of times behind the file it decodes each so often, and prints
 * the nanoseconds of processor time that the fastest took behind the Adler-32. */
#define _GNU_SOURCE /* syscall */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "decode.h"

#ifndef SYS_clock_gettime
#define SYS_clock_gettime SYS_clock_gettime64 /* as 32-bit systems name it */
#endif

enum { CACHE_LINE = 64 };

static void mark(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
}

static uint64_t processor_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int decode_once(rt_span in, rt_span table, unsigned char *out, uint32_t bytes, rt_scratch *scratch) {
    mark();
    int sound = rt_decode(in, table, out, bytes, scratch, sizeof *scratch);
    uint32_t sum = rt_adler(out, bytes);
    mark();
    if (sound) printf("%u\n", (unsigned)sum);
    return sound;
}

static int decode_often(rt_span in, rt_span table, unsigned char *out, uint32_t bytes, rt_scratch *scratch, int times) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < times; i++) {
        uint64_t begin = processor_time();
        if (!rt_decode(in, table, out, bytes, scratch, sizeof *scratch)) return 0;
        uint64_t taken = processor_time() - begin;
        if (taken < least) least = taken;
    }
    printf("%u %llu\n", (unsigned)rt_adler(out, bytes), (unsigned long long)least);
    return 1;
}

static int decode(FILE *file, rt_span table, uint32_t coded, uint32_t bytes, int times) {
    rt_scratch *scratch = aligned_alloc(CACHE_LINE, (sizeof *scratch / CACHE_LINE + 1) * CACHE_LINE);
    unsigned char *stream = malloc(coded), *out = malloc(bytes);
    int sound = scratch && stream && out && fread(stream, 1, coded, file) == coded;
    if (sound) {
        rt_span in = {stream, stream + coded};
        sound = times ? decode_often(in, table, out, bytes, scratch, times) : decode_once(in, table, out, bytes, scratch);
    }
    if (!sound) puts("damaged");
    free(scratch);
    free(stream);
    free(out);
    return sound;
}

int main(int count, char **words) {
    FILE *file = count == 2 || count == 3 ? fopen(words[1], "rb") : NULL;
    unsigned char head[8];
    if (!file || fread(head, 1, 4, file) != 4) return 1;
    uint32_t common = rt_u32(head);
    unsigned char *table = malloc(common + 1);
    if (!table || fread(table, 1, common, file) != common) return 1;
    while (fread(head, 1, sizeof head, file) == sizeof head)
        if (!decode(file, (rt_span){table, table + common}, rt_u32(head), rt_u32(head + 4), count == 3 ? atoi(words[2]) : 0)) return 1;
    free(table);
    fclose(file);
    return 0;
}
