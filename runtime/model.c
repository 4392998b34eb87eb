/* What a model says about itself. */
#include "internal.h"

int32_t secateur_abi_version(void) { return SECATEUR_ABI_VERSION; }

const char *secateur_model_name(void) { return model_table.name; }

const char *secateur_manifest(uint64_t *bytes) {
    if (bytes) *bytes = model_table.manifest_bytes;
    return model_table.manifest;
}

int32_t secateur_input_count(void) { return model_table.input_count; }

int32_t secateur_output_count(void) { return model_table.output_count; }

int32_t secateur_operator_count(void) { return model_table.operator_count; }

const secateur_tensor *secateur_input(int32_t index) {
    return index >= 0 && index < model_table.input_count ? &model_table.inputs[index] : NULL;
}

const secateur_tensor *secateur_output(int32_t index) {
    return index >= 0 && index < model_table.output_count ? &model_table.outputs[index] : NULL;
}

const secateur_operator *secateur_operator_at(int32_t index) {
    return index >= 0 && index < model_table.operator_count ? &model_table.operators[index] : NULL;
}

const void *secateur_weights(void) { return model_table.coded_bytes ? NULL : model_table.weights; }

uint64_t secateur_weights_bytes(void) { return model_table.weights_bytes; }

uint64_t secateur_coded_bytes(void) { return model_table.coded_bytes; }

static const char *missing_feature(void) {
    for (int32_t i = 0; i < model_table.feature_count; i++)
        if (!rt_cpu_has(model_table.features[i].name)) return model_table.features[i].message;
    return "this processor has every feature that the model needs";
}

const char *secateur_message(secateur_status status) {
    switch (status) {
    case SECATEUR_OK: return "no error";
    case SECATEUR_ERROR_ARGUMENT: return "an argument is null or out of range";
    case SECATEUR_ERROR_PROCESSOR: return missing_feature();
    case SECATEUR_ERROR_MEMORY: return "no memory for the arena";
    case SECATEUR_ERROR_ARENA: return "the arena must be 64-byte aligned and hold secateur_arena_bytes(threads)";
    case SECATEUR_ERROR_WEIGHTS: return "the weights must be 64-byte aligned and be secateur_weights_bytes() long";
    case SECATEUR_ERROR_THREAD: return "a thread could not be started, or not on the processors asked for";
    case SECATEUR_ERROR_BUSY: return "the state is running in another thread; use one state per thread";
    case SECATEUR_ERROR_OPTIONS:
        return "the options' size must be sizeof(secateur_options), and fields that this model does not know must be zero; "
               "SECATEUR_OPTIONS_INIT sets the size";
    case SECATEUR_ERROR_DAMAGED: return "the model's coded weights are damaged";
    case SECATEUR_ERROR_DRIVER:
    case SECATEUR_ERROR_DEVICE:
    case SECATEUR_ERROR_DEVICE_MEMORY:
        return model_table.device ? model_table.device->message(status) : "the model is for no GPU";
    }
    return "unknown status";
}
