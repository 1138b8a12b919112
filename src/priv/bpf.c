/* SPDX-License-Identifier: MIT */
/* Facts: bpf(2), include/uapi/linux/bpf.h. The newest command is BPF_LINK_DETACH, of Linux 5.9. */
#include "priv/bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int bpf_call(enum bpf_cmd command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

int bpf_get_info(int fd, void *info, size_t size)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = (uint32_t)size;
	attr.info.info = bpf_address(info);
	return bpf_call(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

int bpf_get(const char *path)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = bpf_address(path);
	return bpf_call(BPF_OBJ_GET, &attr);
}

int bpf_pin(int fd, const char *path)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = bpf_address(path);
	attr.bpf_fd = (uint32_t)fd;
	return bpf_call(BPF_OBJ_PIN, &attr);
}

int bpf_link_device(int program, int cgroup)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_fd = (uint32_t)cgroup;
	attr.link_create.attach_type = BPF_CGROUP_DEVICE;
	return bpf_call(BPF_LINK_CREATE, &attr);
}

int bpf_link_exchange(int link, int program)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_update.link_fd = (uint32_t)link;
	attr.link_update.new_prog_fd = (uint32_t)program;
	return bpf_call(BPF_LINK_UPDATE, &attr);
}

int bpf_link_end(int link)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_detach.link_fd = (uint32_t)link;
	return bpf_call(BPF_LINK_DETACH, &attr);
}
