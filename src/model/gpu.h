/* SPDX-License-Identifier: MIT */
/* One GPU: what it is, what the sensor last saw of it, and what people decided about it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/gpuset.h"

#define GPU_UUID_SIZE   96 /* NVML_DEVICE_UUID_V2_BUFFER_SIZE */
#define GPU_MODEL_SIZE  96 /* NVML_DEVICE_NAME_V2_BUFFER_SIZE */
#define GPU_PCI_SIZE    32
#define GPU_REASON_SIZE 200
#define GPU_RECENT_MAX  32
#define GPU_NODES_MAX   8
#define GPU_UNKNOWN     (-1) /* of every metric that the hardware does not tell */

enum gpu_vendor {
	GPU_NVIDIA,
	GPU_AMD,
	GPU_INTEL,
	GPU_VENDOR_MAX,
	GPU_VENDOR_INVALID = -22,
};

/* "nvidia", "amd", "intel" */
const char *gpu_vendor_to_string(enum gpu_vendor vendor);
enum gpu_vendor gpu_vendor_from_string(const char *s);

/* What a GPU looks like from outside, in falling precedence: lost, draining, leased, foreign, free.
 */
enum gpu_state {
	GPU_STATE_FREE,
	GPU_STATE_LEASED,
	GPU_STATE_FOREIGN, /* somebody without a lease uses it */
	GPU_STATE_DRAINING,
	GPU_STATE_LOST, /* the sensor does not see it, or the hardware says that it is gone */
	GPU_STATE_MAX,
};

const char *gpu_state_to_string(enum gpu_state state);

/* How two GPUs of a machine reach each other; a larger value is a shorter way. The PCIe levels are
 * those of nvmlDeviceGetTopologyCommonAncestor. */
enum gpu_link {
	GPU_LINK_SYSTEM,     /* across NUMA nodes, or unknown */
	GPU_LINK_NODE,       /* one NUMA node */
	GPU_LINK_HOSTBRIDGE, /* one PCIe host bridge */
	GPU_LINK_MULTIPLE,   /* several PCIe switches */
	GPU_LINK_SINGLE,     /* one PCIe switch */
	GPU_LINK_INTERNAL,   /* one board */
	GPU_LINK_NVLINK,
	GPU_LINK_MAX,
	GPU_LINK_INVALID = -22,
};

/* "system", "node", "hostbridge", "multiple", "single", "internal", "nvlink" */
const char *gpu_link_to_string(enum gpu_link link);
enum gpu_link gpu_link_from_string(const char *s);

/* Why a process is or is not to be on a GPU; from STANDING_NO_LEASE on it is foreign use. */
enum standing {
	STANDING_LEASE,     /* by the lease that it names */
	STANDING_IGNORED,   /* of the system, or too small to count */
	STANDING_NO_LEASE,  /* its user has none */
	STANDING_WRONG_GPU, /* its user has a lease, but for other GPUs */
	STANDING_ANOTHERS,  /* the GPU is leased to somebody else */
	STANDING_OUTSIDE,   /* the GPU is leased to its user for a run that it is no part of */
	STANDING_MAX,
	STANDING_INVALID = -22,
};

/* "lease", "ignored", "no_lease", "wrong_gpu", "anothers", "outside" */
const char *standing_to_string(enum standing standing);

/* One character device whose opening gives access to a GPU. MIG instances of one card share the
 * node of the card. */
struct gpu_node {
	uint32_t major, minor;
};

/* Documentation/admin-guide/devices.txt; nv-chardev-numbers.h of the driver. */
#define NVIDIA_MAJOR     195
#define NVIDIA_MINORS    248 /* of GPUs; those from here on are of modeset and control */
#define DRM_MAJOR        226
#define DRM_RENDER_MINOR 128 /* the first of renderD */

struct gpu_process {
	pid_t pid;
	int64_t memory_mib; /* or GPU_UNKNOWN */
	/* Filled by the daemon from /proc: */
	uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells a recycled pid; 0 = already gone
			       */
	uid_t uid;            /* (uid_t)-1 = unknown */
	enum standing standing;
	int64_t lease;           /* STANDING_LEASE: id of that lease, else 0 */
	char command[64];        /* sanitized */
	char container[64];      /* "docker:name", sanitized; empty = in none */
	int64_t container_lease; /* the lease that its container is labelled with, 0 = none */
	bool ignored;            /* a program that the site ignores */
};

/* When somebody last held this GPU; the caller's most recent GPUs are still warm for them. */
struct gpu_use {
	uid_t uid;
	int64_t last_us;
};

struct gpu {
	/* Identity: uuid is the key, the rest may change with every boot. */
	char uuid[GPU_UUID_SIZE];
	char model[GPU_MODEL_SIZE];
	char pci[GPU_PCI_SIZE];
	enum gpu_vendor vendor;
	int index;             /* PCI order: what people type */
	int minor;             /* /dev/nvidiaN or renderD; GPU_UNKNOWN if there is none */
	int64_t memory_mib;    /* of the card, or GPU_UNKNOWN (GB10) */
	uint8_t link[GPU_MAX]; /* enum gpu_link to the GPU in that slot */
	struct gpu_node nodes[GPU_NODES_MAX];
	unsigned n_nodes;

	/* Of the latest sample: */
	bool present;
	bool told_lost;              /* as the journal has it */
	unsigned changes;            /* of that, told ... */
	int64_t changes_since_us;    /* ... since then (ledger time) */
	char fault[GPU_REASON_SIZE]; /* why the hardware is not to be used; empty = healthy */
	int64_t memory_used_mib;
	int utilization; /* percent */
	int temperature_c;
	int power_w;
	char defect[GPU_REASON_SIZE];  /* needs repair, even if it works just now; empty = none */
	struct gpu_process *processes; /* owned */
	size_t n_processes;
	bool processes_unknown; /* the hardware does not list them: those who have a node open count
				 */

	/* Over the latest samples, see policy/idle.h: */
	int64_t active_us;        /* when it last did something; 0 = not watched yet */
	int64_t memory_known_mib; /* the latest figure that was told, or GPU_UNKNOWN */
	uint8_t memory_moves; /* a bit for each sample, the latest lowest: was it another figure? */

	/* Decided by administrators: */
	bool drained;
	char drain_reason[GPU_REASON_SIZE];

	/* A lease that has ended, or that gave this GPU back, while the guard denies: the GPU is
	 * not handed out until nobody has it open by that right any more. 0 = none. */
	int64_t revoking;
	/* When an administrator last said that it is repaired (ledger time); what the kernel logged
	 * before that counts no more. */
	int64_t trusted_since_us;

	/* History, for the choice of GPUs: */
	int64_t free_since_us; /* ledger time when its last lease ended, 0 = never leased */
	struct gpu_use recent[GPU_RECENT_MAX];
	size_t n_recent;
};

/* Its nodes as "195:0 226:128". Parsing takes nothing else (-EINVAL). */
#define GPU_NODES_SIZE (GPU_NODES_MAX * 22)
void gpu_format_nodes(const struct gpu *gpu, char dst[GPU_NODES_SIZE]);
int gpu_parse_nodes(const char *s, struct gpu *gpu);

bool gpu_has_node(const struct gpu *gpu, uint32_t major, uint32_t minor);

/* Somebody without a lease is on it. */
bool gpu_is_foreign(const struct gpu *gpu);

/* Present and without a fault; one that does not work is shown as lost. */
bool gpu_works(const struct gpu *gpu);

/* Present, no fault, not drained: may be handed out when nobody holds or uses it, and nothing is
 * being revoked on it. */
bool gpu_is_healthy(const struct gpu *gpu);

/* When uid last held this GPU (ledger time); 0 = never, or too long ago to be remembered. */
int64_t gpu_last_use(const struct gpu *gpu, uid_t uid);

/* Remembers that uid gave this GPU back; the oldest memory goes when there are too many. */
void gpu_note_use(struct gpu *gpu, uid_t uid, int64_t now_us);
