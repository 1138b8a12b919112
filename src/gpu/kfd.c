/* SPDX-License-Identifier: MIT */
/*
 * The nodes of topology/nodes are processors and GPUs; a GPU has a gpu_id that is not 0, and its
 * PCI address in properties: domain, and location_id = bus << 8 | device << 3 | function, in the
 * low 16 bits (above them is the number of a partition, whose nodes are all one card to us).
 *
 * proc/PID is a process that opened /dev/kfd. It has a file vram_<gpu_id> for every GPU that it
 * could use, with 0 on those that it does not; it is on a GPU where it has memory or a queue.
 */
#include "gpu/kfd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/parse.h"
#include "gpu/tree.h"

#define NODES_MAX       (GPU_MAX * 2)
#define PROPERTIES_SIZE 4096
#define LINK_XGMI       11 /* CRAT_IOLINK_TYPE_XGMI of the kernel's kfd_crat.h */
#define MEMORY_MAX      ((uint64_t)SAMPLE_MEMORY_MAX << 20)

struct node {
	uint64_t number, gpu_id;
	unsigned gpu; /* place in the sample */
};

struct nodes {
	unsigned n;
	struct node node[NODES_MAX]; /* of the GPUs of the sample */
};

/* The number behind "key " at the beginning of a line. */
static int property(const char *text, const char *key, uint64_t *ret)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		char number[24];
		size_t n = strlen(key), digits;

		line += *line == '\n';
		if (strncmp(line, key, n) != 0 || line[n] != ' ')
			continue;
		digits = strcspn(line + n + 1, "\n");
		if (digits >= sizeof(number))
			return -EINVAL;
		memcpy(number, line + n + 1, digits);
		number[digits] = '\0';
		return parse_uint(number, 0, UINT64_MAX, ret);
	}
	return -ENOENT;
}

static bool read_address(int nodes, uint64_t number, char pci[GPU_PCI_SIZE])
{
	char path[TREE_PATH_SIZE], text[PROPERTIES_SIZE];
	uint64_t location, domain = 0;

	tree_path(path, "%" PRIu64 "/properties", number);
	if (read_file_at(nodes, path, text, sizeof(text)) < 0 ||
		property(text, "location_id", &location) < 0)
		return false;
	property(text, "domain", &domain);
	snprintf(pci, GPU_PCI_SIZE, "%04x:%02x:%02x.%u", (unsigned)domain,
		(unsigned)(location >> 8 & 0xff), (unsigned)(location >> 3 & 0x1f),
		(unsigned)(location & 7));
	return true;
}

static void read_nodes(
	struct nodes *ret, const struct sample *sample, int root, const struct card *const cards[])
{
	_cleanup_(closep) int nodes = tree_open_dir(root, "sys/class/kfd/kfd/topology/nodes");
	_cleanup_(freep) uint64_t *numbers = NULL;
	int n = tree_list(nodes, ".", "", &numbers);

	ret->n = 0;
	for (int i = 0; i < n && ret->n < NODES_MAX; i++) {
		struct node *node = &ret->node[ret->n];
		char path[TREE_PATH_SIZE], pci[GPU_PCI_SIZE];

		node->number = numbers[i];
		tree_path(path, "%" PRIu64 "/gpu_id", numbers[i]);
		if (tree_uint(nodes, path, UINT32_MAX, &node->gpu_id) < 0 || node->gpu_id == 0 ||
			!read_address(nodes, numbers[i], pci))
			continue;
		for (node->gpu = 0; node->gpu < sample->n_gpus; node->gpu++)
			if (strcmp(cards[node->gpu]->pci, pci) == 0) {
				ret->n++;
				break;
			}
	}
}

/* Has the process a queue on the GPU? */
static bool has_queue(int process, const uint64_t queues[], int n, uint64_t gpu_id)
{
	for (int i = 0; i < n; i++) {
		char path[TREE_PATH_SIZE];
		uint64_t id;

		tree_path(path, "queues/%" PRIu64 "/gpuid", queues[i]);
		if (tree_uint(process, path, UINT32_MAX, &id) >= 0 && id == gpu_id)
			return true;
	}
	return false;
}

static int read_process(int process, pid_t pid, const struct nodes *nodes, struct sample *sample)
{
	_cleanup_(freep) uint64_t *queues = NULL;
	int n = tree_list(process, "queues", "", &queues);

	for (unsigned gpu = 0; gpu < sample->n_gpus; gpu++) {
		uint64_t memory = 0;
		bool used = false, known = false;

		for (unsigned i = 0; i < nodes->n; i++) {
			const struct node *node = &nodes->node[i];
			char path[TREE_PATH_SIZE];
			uint64_t bytes;

			if (node->gpu != gpu)
				continue;
			tree_path(path, "vram_%" PRIu64, node->gpu_id);
			if (tree_uint(process, path, MEMORY_MAX, &bytes) >= 0) {
				known = true;
				memory += bytes;
			}
			used |= memory > 0 || has_queue(process, queues, n, node->gpu_id);
		}
		if (used && sample_add_process(&sample->gpus[gpu], pid,
				    known ? (int64_t)(memory >> 20) : GPU_UNKNOWN) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

int kfd_read_processes(struct sample *sample, int root, const struct card *const cards[])
{
	_cleanup_(closep) int proc = tree_open_dir(root, "sys/class/kfd/kfd/proc");
	_cleanup_(freep) struct nodes *nodes = malloc(sizeof(*nodes));
	_cleanup_(freep) uint64_t *pids = NULL;
	int n = tree_list(proc, ".", "", &pids), r = 0;

	if (!nodes || n == -ENOMEM)
		return -ENOMEM;
	if (n < 0)
		return -ENOENT;
	read_nodes(nodes, sample, root, cards);
	for (int i = 0; i < n && r >= 0; i++) {
		_cleanup_(closep) int process = -1;
		char path[TREE_PATH_SIZE];

		tree_path(path, "%" PRIu64, pids[i]);
		process = tree_open_dir(proc, path);
		if (process >= 0 && pids[i] > 0)
			r = read_process(process, (pid_t)pids[i], nodes, sample);
	}
	return r;
}

/* Which of the nodes has this number; NULL if it is none of our GPUs. */
static const struct node *node_of(const struct nodes *nodes, uint64_t number)
{
	for (unsigned i = 0; i < nodes->n; i++)
		if (nodes->node[i].number == number)
			return &nodes->node[i];
	return NULL;
}

static void read_links_of(
	int root, const struct node *from, const struct nodes *nodes, struct sample *sample)
{
	_cleanup_(freep) uint64_t *links = NULL;
	char path[TREE_PATH_SIZE], text[PROPERTIES_SIZE];
	int n;

	tree_path(path, "sys/class/kfd/kfd/topology/nodes/%" PRIu64 "/io_links", from->number);
	n = tree_list(root, path, "", &links);
	for (int i = 0; i < n; i++) {
		const struct node *to;
		uint64_t type, number;

		tree_path(path,
			"sys/class/kfd/kfd/topology/nodes/%" PRIu64 "/io_links/%" PRIu64
			"/properties",
			from->number, links[i]);
		if (read_file_at(root, path, text, sizeof(text)) < 0 ||
			property(text, "type", &type) < 0 || type != LINK_XGMI ||
			property(text, "node_to", &number) < 0)
			continue;
		to = node_of(nodes, number);
		if (to && to->gpu != from->gpu)
			sample->gpus[from->gpu].link[to->gpu] =
				sample->gpus[to->gpu].link[from->gpu] = GPU_LINK_NVLINK;
	}
}

void kfd_read_links(struct sample *sample, int root, const struct card *const cards[])
{
	_cleanup_(freep) struct nodes *nodes = malloc(sizeof(*nodes));

	if (!nodes)
		return;
	read_nodes(nodes, sample, root, cards);
	for (unsigned i = 0; i < nodes->n; i++)
		read_links_of(root, &nodes->node[i], nodes, sample);
}
