/* NVML for machines without a GPU: the functions that servegate and the service reach through pynvml, answered from a table that the
 * tests write. Compiled as libnvidia-ml.so.1, so that the real binding loads it and calls it. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { MOST_GPUS = 4 };

typedef struct {
    uint64_t value;
    uint32_t error; /* returned in place of the value, unless 0 */
} answer;

typedef struct {
    char name[96];
    char uuid[96];
    answer utilisation, memory, power, energy, temperature, clock, reasons;
    uint64_t energy_per_reading;
    uint32_t capability_major, capability_minor;
    answer power_limit, highest_clock, mig, ecc, persistence, compute_mode, lanes;
    uint32_t processes[2]; /* the ids of those that compute on it; 0 is none */
    answer process_memory; /* of each of them */
} gpu;

/* Parts of GPUs (MIG) come after the first stand_in_count: found by their UUIDs alone. */
gpu stand_in_gpus[MOST_GPUS];
uint32_t stand_in_count, stand_in_init_error, stand_in_count_error, stand_in_opened, stand_in_closed;
uint32_t stand_in_cuda, stand_in_cuda_error;

const char *nvmlErrorString(int error) {
    static char text[64];
    snprintf(text, sizeof text, "stand-in error %d", error);
    return text;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (!stand_in_init_error) stand_in_opened++;
    return stand_in_init_error;
}

int nvmlShutdown(void) {
    stand_in_closed++;
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "550.54.15");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = (int)stand_in_cuda;
    return (int)stand_in_cuda_error;
}

int nvmlDeviceGetCudaComputeCapability(gpu *handle, int *major, int *minor) {
    *major = (int)handle->capability_major;
    *minor = (int)handle->capability_minor;
    return *major ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = stand_in_count;
    return stand_in_count_error;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu **handle) {
    if (index >= stand_in_count) return INVALID_ARGUMENT;
    *handle = &stand_in_gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, gpu **handle) {
    for (int index = 0; index < MOST_GPUS; index++)
        if (!strcmp(stand_in_gpus[index].uuid, uuid)) {
            *handle = &stand_in_gpus[index];
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetName(gpu *handle, char *name, unsigned length) {
    snprintf(name, length, "%s", handle->name);
    return SUCCESS;
}

int nvmlDeviceGetUUID(gpu *handle, char *uuid, unsigned length) {
    snprintf(uuid, length, "%s", handle->uuid);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(gpu *handle, unsigned rates[2]) {
    rates[0] = (unsigned)handle->utilisation.value;
    rates[1] = 0;
    return (int)handle->utilisation.error;
}

int nvmlDeviceGetMemoryInfo(gpu *handle, uint64_t memory[3]) {
    memory[0] = UINT64_C(1) << 36;
    memory[1] = memory[0] - handle->memory.value;
    memory[2] = handle->memory.value;
    return (int)handle->memory.error;
}

static int tell(const answer *from, unsigned *to) {
    *to = (unsigned)from->value;
    return (int)from->error;
}

int nvmlDeviceGetPowerUsage(gpu *handle, unsigned *milliwatts) { return tell(&handle->power, milliwatts); }

int nvmlDeviceGetTotalEnergyConsumption(gpu *handle, uint64_t *millijoules) {
    *millijoules = handle->energy.value;
    handle->energy.value += handle->energy_per_reading;
    return (int)handle->energy.error;
}

int nvmlDeviceGetTemperature(gpu *handle, int sensor, unsigned *celsius) {
    return sensor ? INVALID_ARGUMENT : tell(&handle->temperature, celsius);
}

int nvmlDeviceGetClockInfo(gpu *handle, int clock, unsigned *mhz) {
    return clock == 1 ? tell(&handle->clock, mhz) : INVALID_ARGUMENT;
}

int nvmlDeviceGetCurrentClocksEventReasons(gpu *handle, uint64_t *reasons) {
    *reasons = handle->reasons.value;
    return (int)handle->reasons.error;
}

int nvmlDeviceGetPowerManagementLimit(gpu *handle, unsigned *milliwatts) {
    return tell(&handle->power_limit, milliwatts);
}

int nvmlDeviceGetMaxClockInfo(gpu *handle, int clock, unsigned *mhz) {
    return clock == 1 ? tell(&handle->highest_clock, mhz) : INVALID_ARGUMENT;
}

int nvmlDeviceGetMigMode(gpu *handle, unsigned *mode, unsigned *pending) {
    *pending = (unsigned)handle->mig.value;
    return tell(&handle->mig, mode);
}

int nvmlDeviceGetEccMode(gpu *handle, unsigned *mode, unsigned *pending) {
    *pending = (unsigned)handle->ecc.value;
    return tell(&handle->ecc, mode);
}

int nvmlDeviceGetPersistenceMode(gpu *handle, unsigned *mode) { return tell(&handle->persistence, mode); }

int nvmlDeviceGetComputeMode(gpu *handle, unsigned *mode) { return tell(&handle->compute_mode, mode); }

int nvmlDeviceGetCurrPcieLinkWidth(gpu *handle, unsigned *lanes) { return tell(&handle->lanes, lanes); }

typedef struct {
    unsigned pid;
    uint64_t memory;
    unsigned instance, compute_instance;
} process;

int nvmlDeviceGetComputeRunningProcesses_v3(gpu *handle, unsigned *count, process *processes) {
    unsigned found = 0, room = *count;
    if (handle->process_memory.error) return handle->process_memory.error;
    for (int index = 0; index < 2; index++) {
        if (!handle->processes[index]) continue;
        if (found < room) processes[found] = (process){handle->processes[index], handle->process_memory.value, 0, 0};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
