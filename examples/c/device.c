/* Runs a model for a GPU on memory of the GPU's, on a stream of the program's, and prints its first results.
 *
 *     device IMAGE
 *
 * IMAGE is a file with the bare bytes of the model's first input. The model is linked in; see the Makefile. Nothing of
 * a CUDA toolkit is needed: what is used of the driver is declared here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "model.h" /* of the artifact's folder */

/* Of cuda.h, which defines these names for programs that include it. */
int cuInit(unsigned flags);
int cuDeviceGet(int *device, int index);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRelease(int device);
int cuCtxPushCurrent_v2(void *context);
int cuCtxPopCurrent_v2(void **context);
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes);
int cuMemFree_v2(uint64_t pointer);
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream);
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream);
int cuStreamCreate(void **stream, unsigned flags);
int cuStreamDestroy_v2(void *stream);
int cuStreamSynchronize(void *stream);

enum { RUNS = 2, SHOWN = 5 };

static void check(int result, const char *what) {
    if (result == 0) return;
    fprintf(stderr, "device: %s: CUDA error %d\n", what, result);
    exit(2);
}

static void check_model(secateur_status status) {
    if (status == SECATEUR_OK) return;
    fprintf(stderr, "device: %s: %s\n", secateur_model_name(), secateur_message(status));
    exit(2);
}

static void *read_image(const char *path, size_t bytes) {
    FILE *file = fopen(path, "rb");
    void *image = malloc(bytes);
    if (!file || !image || fread(image, 1, bytes, file) != bytes) {
        fprintf(stderr, "device: %s: has not the %zu bytes of the model's input\n", path, bytes);
        exit(2);
    }
    fclose(file);
    return image;
}

/* Memory of the GPU's for an input or output, as a pointer. */
static void *on_gpu(uint64_t bytes) {
    uint64_t pointer;
    check(cuMemAlloc_v2(&pointer, bytes ? bytes : 1), "memory");
    return (void *)(uintptr_t)pointer;
}

static void release(void *pointer) { check(cuMemFree_v2((uintptr_t)pointer), "memory"); }

/* The runs follow one another on the stream, and nothing waits in between. */
static void run(secateur_state *state, void *stream, const void *image, float *scores) {
    void *input = on_gpu(secateur_input(0)->bytes), *output = on_gpu(secateur_output(0)->bytes);
    const void *inputs[] = {input};
    void *outputs[] = {output};
    check(cuMemcpyHtoDAsync_v2((uintptr_t)input, image, secateur_input(0)->bytes, stream), "the image");
    for (int i = 0; i < RUNS; i++) check_model(secateur_run_device(state, inputs, outputs, stream));
    check(cuMemcpyDtoHAsync_v2(scores, (uintptr_t)output, secateur_output(0)->bytes, stream), "the scores");
    check(cuStreamSynchronize(stream), "the stream");
    release(input);
    release(output);
}

int main(int argc, char **argv) {
    void *context, *stream;
    int device;
    secateur_state *state;
    if (argc != 2 || secateur_input_count() != 1 || secateur_output_count() != 1 || secateur_output(0)->dtype != SECATEUR_F32) {
        fprintf(stderr, "device: usage: device IMAGE, of a model with one input and one output of float32\n");
        return 2;
    }
    check(cuInit(0), "the driver");
    check(cuDeviceGet(&device, 0), "the GPU");
    check(cuDevicePrimaryCtxRetain(&context, device), "its context");
    check(cuCtxPushCurrent_v2(context), "its context"); /* the state takes the one that is current */
    check(cuStreamCreate(&stream, 0), "a stream");
    check_model(secateur_create(NULL, &state));
    void *image = read_image(argv[1], secateur_input(0)->bytes);
    float *scores = malloc(secateur_output(0)->bytes);
    if (scores) run(state, stream, image, scores);
    for (uint64_t i = 0; scores && i < SHOWN && i < secateur_output(0)->bytes / sizeof *scores; i++) printf("%g\n", (double)scores[i]);
    free(image);
    free(scores);
    secateur_free(state);
    check(cuStreamDestroy_v2(stream), "the stream");
    check(cuCtxPopCurrent_v2(&context), "its context");
    check(cuDevicePrimaryCtxRelease(device), "its context");
    return 0;
}
