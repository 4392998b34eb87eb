/* Classifies images with a compiled model: prints the best class of each.
 *
 *     classify [-t THREADS] IMAGE...
 *
 * An image is a file with the bare bytes of the model's first input; the model's first output is a row of
 * float32 scores. The model is linked in; see the Makefile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h" /* of the artifact's folder */

static void fail(const char *what, const char *why) {
    fprintf(stderr, "classify: %s: %s\n", what, why);
    exit(2);
}

static void check_model(void) {
    if (secateur_abi_version() != SECATEUR_ABI_VERSION) fail("model", "made for another version of secateur.h");
    if (secateur_input_count() != 1 || secateur_output_count() < 1) fail("model", "needs one input and an output");
    if (secateur_output(0)->dtype != SECATEUR_F32) fail("model", "its first output is not float32");
}

static void read_image(const char *path, void *image, size_t bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path, "cannot be opened");
    size_t read = fread(image, 1, bytes, file);
    int rest = fgetc(file);
    fclose(file);
    if (read != bytes || rest != EOF) fail(path, "has another size than the model's input");
}

static size_t best(const float *scores, size_t count) {
    size_t index = 0;
    for (size_t i = 1; i < count; i++)
        if (scores[i] > scores[index]) index = i;
    return index;
}

static void *allocate(uint64_t bytes) {
    void *data = malloc(bytes ? (size_t)bytes : 1);
    if (!data) fail("memory", "cannot be allocated");
    return data;
}

static void **make_outputs(void) {
    void **outputs = allocate((uint64_t)secateur_output_count() * sizeof *outputs);
    for (int32_t i = 0; i < secateur_output_count(); i++) outputs[i] = allocate(secateur_output(i)->bytes);
    return outputs;
}

static void free_outputs(void **outputs) {
    for (int32_t i = 0; i < secateur_output_count(); i++) free(outputs[i]);
    free(outputs);
}

static void classify(secateur_state *state, const char *path, void *image, void **outputs) {
    const void *inputs[] = {image};
    read_image(path, image, (size_t)secateur_input(0)->bytes);
    secateur_status status = secateur_run(state, inputs, outputs);
    if (status != SECATEUR_OK) fail(path, secateur_message(status));
    size_t classes = (size_t)(secateur_output(0)->bytes / sizeof(float));
    size_t winner = best(outputs[0], classes);
    printf("%s: class %zu, score %g\n", path, winner, (double)((float *)outputs[0])[winner]);
}

int main(int argc, char **argv) {
    secateur_options options = SECATEUR_OPTIONS_INIT;
    int first = 1;
    if (argc > 2 && strcmp(argv[1], "-t") == 0) {
        options.threads = atoi(argv[2]);
        first = 3;
    }
    if (first >= argc) fail("usage", "classify [-t THREADS] IMAGE...");
    check_model();
    secateur_state *state;
    secateur_status status = secateur_create(&options, &state);
    if (status != SECATEUR_OK) fail(secateur_model_name(), secateur_message(status));
    void *image = allocate(secateur_input(0)->bytes);
    void **outputs = make_outputs();
    for (int i = first; i < argc; i++) classify(state, argv[i], image, outputs);
    free_outputs(outputs);
    free(image);
    secateur_free(state);
    return 0;
}
