/* SPDX-License-Identifier: MIT */
/*
 * What nvidia-modprobe, and every root process that starts CUDA, does to a device node:
 *
 *	modprobe PARAMS NODE MAJOR MINOR
 *
 * Unless ModifyDeviceFiles of PARAMS is 1, nothing. Otherwise, unless NODE is that device and has
 * the mode (as stat(2) shows it), owner and group of PARAMS: one with another number is removed, a
 * missing one is made, and mode, owner and group are set.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct parameters {
	unsigned mode, uid, gid, modify;
};

static int fail(const char *what)
{
	fprintf(stderr, "modprobe: %s: %s\n", what, strerror(errno));
	return 1;
}

static struct parameters read_parameters(const char *path)
{
	struct parameters p = { .mode = 0666, .uid = 0, .gid = 0, .modify = 1 };
	FILE *file = fopen(path, "re");
	char line[4096], name[32];
	unsigned value;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%31[^:]: %u", name, &value) != 2)
			continue;
		if (strcmp(name, "DeviceFileMode") == 0)
			p.mode = value;
		else if (strcmp(name, "DeviceFileUID") == 0)
			p.uid = value;
		else if (strcmp(name, "DeviceFileGID") == 0)
			p.gid = value;
		else if (strcmp(name, "ModifyDeviceFiles") == 0)
			p.modify = value;
	}
	if (file)
		fclose(file);
	return p;
}

int main(int argc, char **argv)
{
	struct parameters p;
	struct stat st;
	dev_t device;
	bool right;

	if (argc != 5) {
		fprintf(stderr, "usage: modprobe PARAMS NODE MAJOR MINOR\n");
		return 2;
	}
	p = read_parameters(argv[1]);
	device =
		makedev((unsigned)strtoul(argv[3], NULL, 10), (unsigned)strtoul(argv[4], NULL, 10));
	if (p.modify != 1)
		return 0;
	right = stat(argv[2], &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == device;
	if (right && (st.st_mode & 0777) == p.mode && st.st_uid == p.uid && st.st_gid == p.gid)
		return 0;
	if (!right && unlink(argv[2]) < 0 && errno != ENOENT)
		return fail("unlink");
	if (!right && mknod(argv[2], S_IFCHR | p.mode, device) < 0)
		return fail("mknod");
	if (chmod(argv[2], p.mode) < 0)
		return fail("chmod");
	if (chown(argv[2], p.uid, p.gid) < 0)
		return fail("chown");
	return 0;
}
