/* Decodes streams from a file: what they have in common, behind its bytes (4), then for each the bytes of the stream and of its
 * array (4 each), and the stream.
 * A second argument says in how many bytes the decoder has to work.
 * Prints a line for each: the Adler-32 of the array, or "damaged". Memory is exactly as large as said, so that
 * a sanitizer sees what reads or writes outside. */
#include <stdio.h>
#include <stdlib.h>

#include "decode.h"

static unsigned char *exactly(size_t bytes) {
    unsigned char *memory = malloc(bytes ? bytes : 1);
    if (!memory) exit(1);
    return memory;
}

static unsigned char *read_exactly(FILE *file, uint32_t bytes) {
    unsigned char *data = exactly(bytes);
    if (fread(data, 1, bytes, file) != bytes) exit(1);
    return data;
}

static void decode(rt_span in, rt_span table, uint32_t bytes, size_t room) {
    rt_scratch *scratch = (rt_scratch *)(void *)exactly(room);
    unsigned char *out = exactly(bytes);
    if (rt_decode(in, table, out, bytes, scratch, room)) printf("%u\n", (unsigned)rt_adler(out, bytes));
    else puts("damaged");
    free(out);
    free(scratch);
}

int main(int count, char **words) {
    FILE *file = count >= 2 ? fopen(words[1], "rb") : NULL;
    size_t room = count > 2 ? strtoull(words[2], NULL, 10) : sizeof(rt_scratch);
    unsigned char head[8];
    if (!file || fread(head, 1, 4, file) != 4) return 1;
    uint32_t common = rt_u32(head);
    unsigned char *table = read_exactly(file, common);
    while (fread(head, 1, sizeof head, file) == sizeof head) {
        uint32_t coded = rt_u32(head), bytes = rt_u32(head + 4);
        unsigned char *stream = read_exactly(file, coded);
        decode((rt_span){stream, stream + coded}, (rt_span){table, table + common}, bytes, room);
        free(stream);
    }
    free(table);
    fclose(file);
    return 0;
}
