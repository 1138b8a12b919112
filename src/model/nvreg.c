/* SPDX-License-Identifier: MIT */
/*
 * The file has a line "Name: VALUE" for each parameter, numbers in decimal. Some values are text
 * that an administrator wrote (RegistryDwords), so names count at the start of a line only.
 *
 * What the driver asks for is put on a node if the node differs: chmod(2), where the ACL's mask
 * takes the place of the group bits, and chown(2). Entries for users are left as they are, but the
 * mask and o:: are not. A node with another number, or none, is made anew: then the group bits are
 * those of the group.
 */
#include "model/nvreg.h"

#include <stdint.h>
#include <string.h>

#include "base/parse.h"

#define LINE_SIZE    64
#define DEFAULT_MODE 0666
#define GROUP_RW     0060
#define OTHER_RW     0006

#define FIX                                                                                 \
	"echo options nvidia NVreg_DeviceFileUID=0 NVreg_DeviceFileGID=0 "                  \
	"NVreg_DeviceFileMode=0660 >/etc/modprobe.d/zz-dibs.conf && { update-initramfs -u " \
	"|| dracut -f; } && reboot"

/* The number behind "Name:", if the line is that parameter. */
static void read_value(const char *line, const char *name, unsigned *value)
{
	size_t n = strlen(name);
	uint64_t number;

	if (strncmp(line, name, n) != 0 || line[n] != ':')
		return;
	line += n + 1;
	line += strspn(line, " \t");
	if (parse_uint(line, 0, UINT32_MAX, &number) == 0)
		*value = (unsigned)number;
}

void nvreg_parse(const char *text, struct nvreg *ret)
{
	struct nvreg nvreg = { .mode = DEFAULT_MODE };
	unsigned modify = 1;
	char line[LINE_SIZE];

	for (const char *next; *text; text = next) {
		size_t n = strcspn(text, "\n");

		next = text + n + (text[n] == '\n');
		if (n >= sizeof(line))
			continue;
		memcpy(line, text, n);
		line[n] = '\0';
		read_value(line, "DeviceFileMode", &nvreg.mode);
		read_value(line, "DeviceFileUID", &nvreg.uid);
		read_value(line, "DeviceFileGID", &nvreg.gid);
		read_value(line, "ModifyDeviceFiles", &modify);
	}
	nvreg.modify = modify == 1;
	*ret = nvreg;
}

static const char *problem_of(const struct nvreg *nvreg)
{
	if (!nvreg->modify)
		return NULL;
	if (nvreg->mode & OTHER_RW)
		return "nvidia-modprobe opens the device nodes to everybody (NVreg_DeviceFileMode)";
	if (nvreg->uid != 0)
		return "nvidia-modprobe gives the device nodes to a user (NVreg_DeviceFileUID)";
	if ((nvreg->mode & GROUP_RW) != GROUP_RW)
		return "nvidia-modprobe takes the device nodes from users who have a right "
		       "(NVreg_DeviceFileMode has no rw for the group, which is the mask of the "
		       "ACL)";
	if (nvreg->gid != 0)
		return "nvidia-modprobe makes device nodes that are open to a group "
		       "(NVreg_DeviceFileGID)";
	return NULL;
}

bool nvreg_acl_holds(const struct nvreg *nvreg, const char **ret_problem, const char **ret_fix)
{
	*ret_problem = problem_of(nvreg);
	*ret_fix = *ret_problem ? FIX : NULL;
	return !*ret_problem;
}
