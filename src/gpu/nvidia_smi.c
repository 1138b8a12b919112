/* SPDX-License-Identifier: MIT */
/*
 * NVIDIA GPUs where the library cannot be loaded into the sensor, but NVIDIA's own program can
 * (another C library, a place that the linker does not know). It is run twice for each sample; both
 * runs together have a time limit, since they hang where the driver hangs.
 *
 * What it cannot tell it writes in brackets ("[N/A]", "[Not Supported]"), which is unknown. It
 * tells the PCI address, but not the minor: that is in /proc/driver/nvidia. Faults and links are
 * not to be had.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "gpu/backend.h"
#include "gpu/child.h"
#include "gpu/tree.h"

#define DEADLINE_MS 8000 /* less than the default of [sensor] deadline */
#define OUTPUT_SIZE (1 << 20)
#define PID_LIMIT   4194304

struct smi {
	int root;
	char *program; /* owned */
	char *output;  /* owned; OUTPUT_SIZE */
};

/* Fields of a line of --query-gpu. The name comes last: it could have a comma. */
enum field { INDEX, UUID, PCI, MEMORY, MEMORY_USED, UTILIZATION, TEMPERATURE, POWER, NAME, FIELDS };

#define QUERY_GPUS                                                                                \
	"--query-gpu=index,uuid,pci.bus_id,memory.total,memory.used,utilization.gpu,temperature." \
	"gpu,power.draw,name"
#define QUERY_PROCESSES "--query-compute-apps=gpu_uuid,pid,used_memory"

/* The whole output of one run, into smi->output. */
static int run(struct smi *smi, const char *query, int64_t deadline, struct error *err)
{
	const char *const argv[] = { smi->program, query, "--format=csv,noheader,nounits", NULL };
	struct child child = { 0 };
	size_t size = 0;
	ssize_t n = 1;
	int r = child_start(&child, argv, err), status;

	while (r >= 0 && n > 0 && size < OUTPUT_SIZE - 1) {
		n = child_read(&child, smi->output + size, OUTPUT_SIZE - 1 - size, deadline);
		size += n > 0 ? (size_t)n : 0;
	}
	smi->output[size] = '\0';
	if (r < 0)
		return r;
	if (n != 0) {
		child_stop(&child);
		return error_set(
			err, -ETIMEDOUT, "smi.silent", "%s does not come to its end", smi->program);
	}
	status = child_wait(&child, deadline);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	smi->output[strcspn(smi->output, "\n")] = '\0';
	text_sanitize(smi->output);
	return error_set(err, -EIO, "smi.failed", "%s failed: %.200s", smi->program, smi->output);
}

/* The next field of a line, without the blanks before it; "" at the end. */
static char *next_field(char **cursor)
{
	char *field = *cursor, *end = field + strcspn(field, ",");

	*cursor = *end ? end + 1 : end;
	*end = '\0';
	return field + strspn(field, " ");
}

/* "81920", "61.23"; everything else is unknown. */
static int64_t metric(char *text, uint64_t max)
{
	uint64_t value;

	text[strcspn(text, ".")] = '\0';
	return parse_uint(text, 0, max, &value) < 0 ? GPU_UNKNOWN : (int64_t)value;
}

/* "Device Minor: \t 1" of /proc/driver/nvidia/gpus/0000:3b:00.0/information. */
static void read_minor(int root, struct gpu *gpu)
{
	char path[TREE_PATH_SIZE], text[4096], *line;
	uint64_t minor;

	/* The driver writes four digits of the domain, the program eight. */
	tree_path(path, "proc/driver/nvidia/gpus/%s/information",
		strncmp(gpu->pci, "0000", 4) == 0 && strlen(gpu->pci) == 16 ? gpu->pci + 4
									    : gpu->pci);
	if (strchr(gpu->pci, '/') || read_file_at(root, path, text, sizeof(text)) < 0)
		return;
	line = strstr(text, "Device Minor:");
	if (!line)
		return;
	line += strlen("Device Minor:");
	line += strspn(line, " \t");
	line[strspn(line, "0123456789")] = '\0';
	if (parse_uint(line, 0, NVIDIA_MINORS - 1, &minor) < 0)
		return;
	gpu->minor = (int)minor;
	sample_add_node(gpu, NVIDIA_MAJOR, minor);
}

static void take_texts(struct gpu *gpu, const char *uuid, char *pci, char *name)
{
	text_copy(gpu->uuid, sizeof(gpu->uuid), uuid);
	for (char *p = pci; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	text_sanitize(pci);
	text_copy(gpu->pci, sizeof(gpu->pci), pci);
	text_sanitize(name);
	text_copy(gpu->model, sizeof(gpu->model), name[0] ? name : "unknown");
}

static struct gpu *find(struct sample *sample, const char *uuid)
{
	for (unsigned i = 0; i < sample->n_gpus; i++)
		if (strcmp(sample->gpus[i].uuid, uuid) == 0)
			return &sample->gpus[i];
	return NULL;
}

static bool has_index(const struct sample *sample, int64_t index)
{
	for (unsigned i = 0; i < sample->n_gpus; i++)
		if (sample->gpus[i].index == index)
			return true;
	return false;
}

/* A line that names no GPU, or one that was there, is none. */
static void take_gpu(struct smi *smi, char *line, struct sample *ret)
{
	char *field[FIELDS];
	struct gpu *gpu;
	int64_t index;

	for (int i = 0; i < NAME; i++)
		field[i] = next_field(&line);
	field[NAME] = line + strspn(line, " ");
	index = metric(field[INDEX], SAMPLE_INDEX_MAX);
	if (index < 0 || has_index(ret, index) || !sample_uuid_valid(field[UUID]) ||
		find(ret, field[UUID]))
		return;
	gpu = sample_add(ret);
	if (!gpu)
		return;
	take_texts(gpu, field[UUID], field[PCI], field[NAME]);
	gpu->vendor = GPU_NVIDIA;
	gpu->index = (int)index;
	gpu->memory_mib = metric(field[MEMORY], SAMPLE_MEMORY_MAX);
	gpu->memory_used_mib = metric(field[MEMORY_USED], SAMPLE_MEMORY_MAX);
	gpu->utilization = (int)metric(field[UTILIZATION], 100);
	gpu->temperature_c = (int)metric(field[TEMPERATURE], SAMPLE_TEMPERATURE_MAX);
	gpu->power_w = (int)metric(field[POWER], SAMPLE_POWER_MAX);
	read_minor(smi->root, gpu);
}

static int take_process(char *line, struct sample *ret)
{
	char *uuid = next_field(&line), *pid = next_field(&line), *memory = next_field(&line);
	struct gpu *gpu = find(ret, uuid);
	uint64_t number;

	if (!gpu || parse_uint(pid, 1, PID_LIMIT, &number) < 0)
		return 0;
	return sample_add_process(gpu, (pid_t)number, metric(memory, SAMPLE_MEMORY_MAX));
}

static int smi_read(void *context, struct sample *ret, struct error *err)
{
	struct smi *smi = context;
	int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
	char *cursor = smi->output, *line;
	int r = run(smi, QUERY_GPUS, deadline, err);

	if (r < 0)
		return r;
	while ((line = strsep(&cursor, "\n")))
		take_gpu(smi, line, ret);
	if (ret->n_gpus == 0)
		return error_set(err, -ENODEV, "smi.no-gpus", "%s sees no GPU", smi->program);
	r = run(smi, QUERY_PROCESSES, deadline, NULL);
	for (unsigned i = 0; i < ret->n_gpus; i++)
		ret->gpus[i].processes_unknown = r < 0;
	cursor = smi->output;
	while (r >= 0 && (line = strsep(&cursor, "\n")))
		if (take_process(line, ret) == -ENOMEM)
			return error_set(err, -ENOMEM, "memory", "out of memory");
	return 0;
}

static char *find_program(const struct backend_options *options)
{
	const char *variable = getenv("PATH");
	_cleanup_(freep) char *path = strdup(variable ? variable : "/usr/bin:/bin");
	char *cursor = path, *directory;

	if (options->sysroot)
		return text_format("%s/usr/bin/nvidia-smi", options->sysroot);
	while (cursor && (directory = strsep(&cursor, ":"))) {
		_cleanup_(freep) char *program =
			directory[0] == '/' ? text_format("%s/nvidia-smi", directory) : NULL;

		if (program && access(program, X_OK) == 0)
			return TAKE_PTR(program);
	}
	return NULL;
}

static void smi_close(void *context)
{
	struct smi *smi = context;

	if (!smi)
		return;
	closep(&smi->root);
	free(smi->program);
	free(smi->output);
	free(smi);
}

static int smi_open(const struct backend_options *options, void **ret_context, struct error *err)
{
	struct smi *smi = calloc(1, sizeof(*smi));

	if (!smi)
		return error_set(err, -ENOMEM, "memory", "out of memory");
	smi->root = tree_open(options->sysroot);
	smi->program = find_program(options);
	smi->output = malloc(OUTPUT_SIZE);
	if (smi->output && smi->program && access(smi->program, X_OK) == 0) {
		*ret_context = smi;
		return 0;
	}
	smi_close(smi);
	return error_set(err, -ENOENT, "smi.missing", "nvidia-smi is not installed");
}

const struct backend backend_nvidia_smi = {
	.name = "nvidia-smi",
	.open = smi_open,
	.read = smi_read,
	.close = smi_close,
};
