/* SPDX-License-Identifier: MIT */
/*
 * DRM cards.
 *
 * /sys/class/drm/cardN/device is the PCI device; its uevent has driver, address and ids in one
 * file, its drm/ the render node. How integrated GPUs are told: Intel's sit on bus 0, where no
 * card can be; those of AMD have the sensor of the north bridge's voltage (vddnb), which amdgpu
 * shows for processors alone (amdgpu_pm.c, hwmon_attributes_visible).
 *
 * Only AMD's professional cards have their name in sysfs; for the others pci.ids has it, which is
 * read when a card appears.
 */
#include "gpu/card.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/strtab.h"
#include "base/text.h"
#include "gpu/tree.h"

#define UEVENT_SIZE   4096
#define MINOR_MAX     9999
#define PCI_NVIDIA    "0x10de"
#define CLASS_DISPLAY "0x03"

static const char *const drivers[] = { "amdgpu", "i915", "xe" };

static enum card_driver driver_from_string(const char *s)
{
	for (size_t i = 0; i < ELEMENTSOF(drivers); i++)
		if (strcmp(drivers[i], s) == 0)
			return (enum card_driver)i;
	return CARD_DRIVER_INVALID;
}

/* The value of KEY= in a uevent, copied; false if it has none or it is too long. */
static bool uevent_value(const char *uevent, const char *key, char *dst, size_t size)
{
	for (const char *line = uevent; line; line = strchr(line, '\n')) {
		size_t n;

		line += *line == '\n';
		if (strncmp(line, key, strlen(key)) != 0 || line[strlen(key)] != '=')
			continue;
		line += strlen(key) + 1;
		n = strcspn(line, "\n");
		if (n == 0 || n >= size)
			return false;
		memcpy(dst, line, n);
		dst[n] = '\0';
		return true;
	}
	return false;
}

/* "0000:03:00.0" in lower case, as the kernel writes it. */
static bool is_address(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return n >= 4 && n <= 8 && s[n] == ':' && strspn(s + n + 1, "0123456789abcdef") == 2 &&
	       s[n + 3] == ':' && strspn(s + n + 4, "0123456789abcdef") == 2 && s[n + 6] == '.' &&
	       s[n + 7] >= '0' && s[n + 7] <= '7' && s[n + 8] == '\0';
}

/* "1002:740C" */
static bool parse_ids(const char *s, struct card *card)
{
	if (strspn(s, "0123456789abcdefABCDEF") != 4 || s[4] != ':' ||
		strspn(s + 5, "0123456789abcdefABCDEF") != 4 || s[9])
		return false;
	card->vendor = (unsigned)strtoul(s, NULL, 16);
	card->device = (unsigned)strtoul(s + 5, NULL, 16);
	return true;
}

int card_open(int root, const struct card *card)
{
	char path[TREE_PATH_SIZE];

	tree_path(path, "sys/class/drm/card%u/device", card->card);
	return tree_open_dir(root, path);
}

int card_open_hwmon(int device)
{
	_cleanup_(freep) uint64_t *numbers = NULL;
	char path[TREE_PATH_SIZE];
	int n = tree_list(device, "hwmon", "hwmon", &numbers);

	if (n <= 0)
		return n < 0 ? n : -ENOENT;
	tree_path(path, "hwmon/hwmon%u", (unsigned)numbers[0]);
	return tree_open_dir(device, path);
}

static bool is_integrated(int device, const struct card *card)
{
	_cleanup_(closep) int hwmon = -1;

	if (card->driver != CARD_AMDGPU)
		return strncmp(strchr(card->pci, ':'), ":00:", 4) == 0;
	hwmon = card_open_hwmon(device);
	return hwmon >= 0 && faccessat(hwmon, "in1_label", F_OK, 0) == 0;
}

/* Is cardN a GPU? */
static bool read_card(int root, uint64_t number, struct card *card)
{
	_cleanup_(freep) uint64_t *renders = NULL;
	_cleanup_(closep) int device = -1;
	char uevent[UEVENT_SIZE], driver[16], ids[16];
	struct card found = { .card = (unsigned)number };

	if (number > MINOR_MAX)
		return false;
	device = card_open(root, &found);
	if (device < 0 || read_file_at(device, "uevent", uevent, sizeof(uevent)) < 0 ||
		!uevent_value(uevent, "DRIVER", driver, sizeof(driver)) ||
		!uevent_value(uevent, "PCI_SLOT_NAME", found.pci, sizeof(found.pci)) ||
		!uevent_value(uevent, "PCI_ID", ids, sizeof(ids)))
		return false;
	found.driver = driver_from_string(driver);
	if (found.driver == CARD_DRIVER_INVALID || !is_address(found.pci) ||
		!parse_ids(ids, &found) || tree_list(device, "drm", "renderD", &renders) < 1 ||
		renders[0] > MINOR_MAX)
		return false;
	found.render = (unsigned)renders[0];
	found.integrated = is_integrated(device, &found);
	*card = found;
	return true;
}

/* By address; a longer one has the larger domain. */
static int compare(const void *a, const void *b)
{
	const struct card *x = a, *y = b;
	size_t m = strlen(x->pci), n = strlen(y->pci);

	return m != n ? (m > n) - (m < n) : strcmp(x->pci, y->pci);
}

static bool has_nvidia(int root)
{
	_cleanup_(closedirp) DIR *dir = opendir_at(root, "sys/bus/pci/devices");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char path[TREE_PATH_SIZE], text[16];

		tree_path(path, "%s/vendor", entry->d_name);
		if (tree_text(dirfd(dir), path, text, sizeof(text)) < 0 ||
			strcmp(text, PCI_NVIDIA) != 0)
			continue;
		tree_path(path, "%s/class", entry->d_name);
		if (tree_text(dirfd(dir), path, text, sizeof(text)) >= 0 &&
			strncmp(text, CLASS_DISPLAY, strlen(CLASS_DISPLAY)) == 0)
			return true;
	}
	return false;
}

static void drop_integrated(struct cards *cards)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cards->n; i++)
		kept += !cards->card[i].integrated;
	if (kept == cards->n || (kept == 0 && !has_nvidia(cards->root)))
		return;
	kept = 0;
	for (unsigned i = 0; i < cards->n; i++)
		if (!cards->card[i].integrated)
			cards->card[kept++] = cards->card[i];
	cards->n = kept;
}

/* What a line of pci.ids calls a device: in brackets the name of the product, before it that of
 * the chip. */
static void take_name(char *name, char *dst, size_t size)
{
	char *open = strrchr(name, '['), *end = open ? strchr(open, ']') : NULL;

	name += strspn(name, " ");
	if (end && end > open + 1) {
		*end = '\0';
		name = open + 1;
	}
	name[strcspn(name, "\n")] = '\0';
	text_sanitize(name);
	text_copy(dst, size, name);
}

/* pci.ids: a vendor at the beginning of a line, its devices behind one tab, ids in lower case. */
static bool look_up_name(
	int root, const struct card *card, const char *path, char *dst, size_t size)
{
	_cleanup_(fclosep) FILE *file = fopen_at(root, path);
	char line[512], vendor[8], device[8];
	bool inside = false;

	snprintf(vendor, sizeof(vendor), "%04x ", card->vendor & 0xffff);
	snprintf(device, sizeof(device), "\t%04x ", card->device & 0xffff);
	while (file && fgets(line, sizeof(line), file)) {
		if (isxdigit((unsigned char)line[0]))
			inside = strncmp(line, vendor, strlen(vendor)) == 0;
		else if (inside && strncmp(line, device, strlen(device)) == 0) {
			take_name(line + strlen(device), dst, size);
			return dst[0];
		}
	}
	return false;
}

static void read_model(int root, struct card *card)
{
	_cleanup_(closep) int device = card_open(root, card);

	if (tree_text(device, "product_name", card->model, sizeof(card->model)) < 0 &&
		!look_up_name(
			root, card, "usr/share/hwdata/pci.ids", card->model, sizeof(card->model)) &&
		!look_up_name(
			root, card, "usr/share/misc/pci.ids", card->model, sizeof(card->model)))
		snprintf(card->model, sizeof(card->model), "%s %04x:%04x", drivers[card->driver],
			card->vendor, card->device);
}

/* Names do not change, and reading them is the only thing here that takes long. */
static void name_cards(struct cards *cards, const struct cards *old)
{
	for (unsigned i = 0; i < cards->n; i++) {
		struct card *card = &cards->card[i];

		for (unsigned j = 0; j < old->n; j++)
			if (strcmp(old->card[j].pci, card->pci) == 0 &&
				old->card[j].device == card->device)
				text_copy(card->model, sizeof(card->model), old->card[j].model);
		if (!card->model[0])
			read_model(cards->root, card);
	}
}

void cards_read(struct cards *cards)
{
	_cleanup_(freep) struct cards *old = malloc(sizeof(*old));
	_cleanup_(freep) uint64_t *numbers = NULL;
	int n = tree_list(cards->root, "sys/class/drm", "card", &numbers);

	if (!old)
		return;
	*old = *cards;
	cards->n = 0;
	for (int i = 0; i < n && cards->n < GPU_MAX; i++)
		cards->n += read_card(cards->root, numbers[i], &cards->card[cards->n]);
	qsort(cards->card, cards->n, sizeof(cards->card[0]), compare);
	drop_integrated(cards);
	name_cards(cards, old);
}

static void read_hwmon(int device, struct gpu *gpu)
{
	_cleanup_(closep) int hwmon = card_open_hwmon(device);
	uint64_t value;

	if (hwmon < 0)
		return;
	/* millidegrees; xe begins to count at 2 */
	if (tree_uint(hwmon, "temp1_input", SAMPLE_TEMPERATURE_MAX * 1000, &value) >= 0 ||
		tree_uint(hwmon, "temp2_input", SAMPLE_TEMPERATURE_MAX * 1000, &value) >= 0)
		gpu->temperature_c = (int)(value / 1000);
	/* microwatts */
	if (tree_uint(hwmon, "power1_average", SAMPLE_POWER_MAX * INT64_C(1000000), &value) >= 0 ||
		tree_uint(hwmon, "power1_input", SAMPLE_POWER_MAX * INT64_C(1000000), &value) >= 0)
		gpu->power_w = (int)(value / 1000000);
}

struct gpu *card_add(struct sample *sample, int root, const struct card *card)
{
	_cleanup_(closep) int device = card_open(root, card);
	struct gpu *gpu = sample_add(sample);

	if (!gpu)
		return NULL;
	snprintf(gpu->uuid, sizeof(gpu->uuid), "PCI-%s", card->pci);
	text_copy(gpu->model, sizeof(gpu->model), card->model);
	text_copy(gpu->pci, sizeof(gpu->pci), card->pci);
	gpu->vendor = card->driver == CARD_AMDGPU ? GPU_AMD : GPU_INTEL;
	gpu->index = (int)sample->n_gpus - 1;
	gpu->minor = (int)card->render;
	sample_add_node(gpu, DRM_MAJOR, card->render);
	sample_add_node(gpu, DRM_MAJOR, card->card);
	read_hwmon(device, gpu);
	return gpu;
}

void cards_link(struct sample *sample, int root, const struct card *const cards[])
{
	int64_t numa[GPU_MAX];

	for (unsigned i = 0; i < sample->n_gpus; i++) {
		_cleanup_(closep) int device = card_open(root, cards[i]);
		uint64_t node;

		/* -1 = unknown is no number */
		numa[i] = tree_uint(device, "numa_node", INT32_MAX, &node) < 0 ? -1 : (int64_t)node;
		for (unsigned j = 0; j < i; j++)
			if (numa[i] >= 0 && numa[i] == numa[j])
				sample->gpus[i].link[j] = sample->gpus[j].link[i] = GPU_LINK_NODE;
	}
}
