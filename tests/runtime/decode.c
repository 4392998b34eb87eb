/* Decodes streams from a file: for each the bytes of the stream and of its array (4 each), then the stream.
 * A second argument says in how many bytes the decoder has to work.
 * Prints a line for each: the Adler-32 of the array, or "damaged". Memory is exactly as large as said, so that
 * a sanitizer sees what reads or writes outside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

static unsigned char *exactly(const unsigned char *from, size_t bytes) {
    unsigned char *copy = malloc(bytes ? bytes : 1);
    if (!copy) exit(1);
    if (from && bytes) memcpy(copy, from, bytes);
    return copy;
}

static void decode(const unsigned char *data, uint32_t coded, uint32_t bytes, size_t room) {
    rt_scratch *scratch = (rt_scratch *)(void *)exactly(NULL, room);
    unsigned char *stream = exactly(data, coded), *out = exactly(NULL, bytes);
    rt_span in = {stream, stream + coded};
    if (rt_decode(in, out, bytes, scratch, room)) printf("%u\n", (unsigned)rt_adler(out, bytes));
    else puts("damaged");
    free(out);
    free(stream);
    free(scratch);
}

int main(int count, char **words) {
    FILE *file = count >= 2 ? fopen(words[1], "rb") : NULL;
    size_t room = count > 2 ? strtoull(words[2], NULL, 10) : sizeof(rt_scratch);
    unsigned char head[8];
    if (!file) return 1;
    while (fread(head, 1, sizeof head, file) == sizeof head) {
        uint32_t coded = rt_u32(head), bytes = rt_u32(head + 4);
        unsigned char *stream = exactly(NULL, coded);
        if (fread(stream, 1, coded, file) != coded) return 1;
        decode(stream, coded, bytes, room);
        free(stream);
    }
    fclose(file);
    return 0;
}
