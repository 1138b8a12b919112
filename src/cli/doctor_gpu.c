/* SPDX-License-Identifier: MIT */
/*
 * Drivers and device nodes. No udev event tells of the nodes of NVIDIA GPUs: nvidia-modprobe makes
 * them, when a user starts CUDA if it is setuid, or nvidia-persistenced at boot. Numbers:
 * nv-chardev-numbers.h of the driver, Documentation/admin-guide/devices.txt.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "cli/gpu.h"
#include "cli/public.h"
#include "model/gpu.h"

#define MODPROBE_PATH "usr/bin/nvidia-modprobe"

static bool has_driver(const struct host *host)
{
	return host_has(host, "proc/driver/nvidia/version");
}

bool host_has_persistenced(const struct host *host)
{
	return host_has(host, "run/nvidia-persistenced/nvidia-persistenced.pid") ||
	       host_has(host, "run/nvidia-persistenced/socket");
}

static bool pci_is_nvidia_gpu(int devices, const char *name)
{
	char path[300], vendor[16], class[16];

	snprintf(path, sizeof(path), "%s/vendor", name);
	if (read_file_at(devices, path, vendor, sizeof(vendor)) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/class", name);
	if (read_file_at(devices, path, class, sizeof(class)) < 0)
		return false;
	/* Class 03: display controllers, of which 0302 is one without outputs. */
	return strncmp(vendor, "0x10de", 6) == 0 && strncmp(class, "0x03", 4) == 0;
}

static unsigned count_nvidia_pci(const struct host *host)
{
	_cleanup_(closedirp) DIR *dir = opendir_at(host->root, "sys/bus/pci/devices");
	unsigned n = 0;

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		n += entry->d_name[0] != '.' && pci_is_nvidia_gpu(dirfd(dir), entry->d_name);
	return n;
}

static unsigned count_nvidia_nodes(const struct host *host)
{
	_cleanup_(closedirp) DIR *dir = opendir_at(host->root, "dev");
	unsigned n = 0;

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		n += strncmp(entry->d_name, "nvidia", 6) == 0 && entry->d_name[6] >= '0' &&
		     entry->d_name[6] <= '9';
	return n;
}

static void look_nvidia(const struct host *host, struct finding *finding)
{
	unsigned cards = count_nvidia_pci(host), nodes = count_nvidia_nodes(host);
	bool control = host_has(host, "dev/nvidiactl") && host_has(host, "dev/nvidia-uvm");

	if (cards == 0) {
		finding_set(finding, HEALTH_SKIPPED, "no NVIDIA GPU on the PCI bus");
	} else if (!has_driver(host)) {
		finding_set(finding, HEALTH_PROBLEM, "%u NVIDIA GPU%s, but no driver is loaded",
			cards, cards == 1 ? "" : "s");
		finding_fix(finding, "without its driver nobody can use a GPU", "modprobe nvidia");
	} else if (nodes < cards) {
		finding_set(finding, HEALTH_PROBLEM, "%u NVIDIA GPUs, but %u of /dev/nvidia*",
			cards, nodes);
		finding_fix(finding, "programs open the GPU through these files",
			"nvidia-modprobe -c 0 -u; nvidia-smi -L");
	} else if (!control) {
		finding_set(finding, HEALTH_PROBLEM, "no /dev/nvidiactl or no /dev/nvidia-uvm");
		finding_fix(finding, "CUDA cannot start without them", "nvidia-modprobe -c 0 -u");
	} else {
		finding_set(finding, HEALTH_OK, "NVIDIA driver and %u of /dev/nvidia*", nodes);
	}
}

/* Where a node with these numbers ought to be; false for those that have no fixed name. */
static bool node_path(unsigned major, unsigned minor, char *dst, size_t size)
{
	if (major == NVIDIA_MAJOR && minor < NVIDIA_MINORS)
		snprintf(dst, size, "dev/nvidia%u", minor);
	else if (major == DRM_MAJOR && minor >= DRM_RENDER_MINOR)
		snprintf(dst, size, "dev/dri/renderD%u", minor);
	else
		return false;
	return true;
}

static void fix_node(struct finding *finding, const char *path, unsigned major, unsigned minor)
{
	if (major == NVIDIA_MAJOR)
		finding_fix(finding, "nobody can use this GPU, lease or not",
			"rm -f /%s; nvidia-modprobe -c %u", path, minor);
	else
		finding_fix(finding, "nobody can use this GPU, lease or not",
			"rm -f /%s; udevadm trigger --action=add --subsystem-match=drm", path);
}

/* True if there is something to say. */
static bool judge_node(
	const struct host *host, struct finding *finding, unsigned major, unsigned minor)
{
	char path[64];
	struct stat st;

	if (!node_path(major, minor, path, sizeof(path)))
		return false;
	if (fstatat(host->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		finding_set(finding, HEALTH_PROBLEM, "no /%s", path);
		fix_node(finding, path, major, minor);
	} else if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(major, minor)) {
		finding_set(finding, HEALTH_PROBLEM, "/%s is not character device %u:%u", path,
			major, minor);
		fix_node(finding, path, major, minor);
	} else if (host_guard_is(host, "deny", "acl") && st.st_mode & 0006) {
		finding_set(finding, HEALTH_PROBLEM, "/%s is open to everybody (mode %04o)", path,
			st.st_mode & 07777);
		finding_fix(finding, "something undid the ACL that keeps others off this GPU",
			"chmod o= /%s; dibs admin guard deny", path);
	} else if (!host_guard_is(host, "deny", "acl") && (st.st_mode & 0006) != 0006) {
		finding_set(finding, HEALTH_NOTE,
			"/%s is open to its group alone (mode %04o, group %u)", path,
			st.st_mode & 07777, (unsigned)st.st_gid);
		finding_fix(finding,
			"who has a lease for it, but is not in that group, cannot use it",
			"chmod 0666 /%s", path);
	} else {
		return false;
	}
	return true;
}

static void look_nodes(const struct host *host, struct finding *finding)
{
	json_t *gpus = json_object_get(host->status, "gpus"), *gpu, *node;
	unsigned major, minor, n = 0;
	char path[64];
	size_t i, k;

	json_array_foreach (gpus, i, gpu)
		json_array_foreach (json_object_get(gpu, "nodes"), k, node) {
			if (!gpu_parse_node(node, &major, &minor))
				continue;
			if (judge_node(host, finding, major, minor))
				return;
			n += node_path(major, minor, path, sizeof(path));
		}
	if (n == 0)
		finding_set(finding, HEALTH_SKIPPED, "dibsd names no device node to look at");
	else
		finding_set(finding, HEALTH_OK, "%u device node%s of GPUs as they should be", n,
			n == 1 ? "" : "s");
}

/* Would ACLs survive it? */
static bool acl_holds(const struct host *host)
{
	const char *problem, *fix;
	struct nvreg nvreg;

	return host_nvreg(host, &nvreg) && nvreg_acl_holds(&nvreg, &problem, &fix);
}

static void look_modprobe(const struct host *host, struct finding *finding)
{
	struct stat st;
	bool missing = fstatat(host->root, MODPROBE_PATH, &st, 0) < 0;
	bool acl = host_guard_is(host, "deny", "acl");

	if (!has_driver(host)) {
		finding_set(finding, HEALTH_SKIPPED, "no NVIDIA driver, so no nvidia-modprobe");
	} else if (missing || !(st.st_mode & S_ISUID)) {
		bool made = host_has_persistenced(host);

		finding_set(finding, made ? HEALTH_OK : HEALTH_NOTE, "nvidia-modprobe is %s",
			missing ? "not installed" : "not setuid: only root can make device nodes");
		if (!made)
			finding_fix(finding,
				"after a boot there may be no device nodes until root uses a GPU",
				"systemctl enable --now nvidia-persistenced");
	} else if (acl && !acl_holds(host)) {
		finding_set(finding, HEALTH_NOTE, "nvidia-modprobe is setuid");
		finding_fix(finding,
			"whoever starts CUDA makes it put device nodes back, and undo ACLs",
			"chmod u-s /" MODPROBE_PATH
			" # or the settings of the driver, see 'nvreg'");
	} else {
		finding_set(finding, HEALTH_OK,
			"nvidia-modprobe is setuid, and makes missing nodes; %s",
			acl ? "its settings leave ACLs alone"
			    : "modes that it puts back do not matter to a device filter");
	}
}

static void look_persistence(const struct host *host, struct finding *finding)
{
	if (!has_driver(host)) {
		finding_set(finding, HEALTH_SKIPPED, "no NVIDIA driver, so no persistence mode");
	} else if (host_has_persistenced(host)) {
		finding_set(finding, HEALTH_OK, "nvidia-persistenced runs");
	} else {
		finding_set(finding, HEALTH_NOTE, "nvidia-persistenced does not run");
		finding_fix(finding,
			"while the sensor of dibs does not run either, each first use of a GPU "
			"takes "
			"seconds, and its settings are lost after the last",
			"systemctl enable --now nvidia-persistenced");
	}
}

const struct check gpu_checks[] = {
	{ "nvidia", look_nvidia },
	{ "nodes", look_nodes },
	{ "nvidia-modprobe", look_modprobe },
	{ "persistence", look_persistence },
	{ 0 },
};
