/* SPDX-License-Identifier: MIT */
/*
 * The program is written instruction by instruction: it is short, and so needs neither a compiler
 * for BPF nor a library that reads what one made. It has no loop, and jumps forward alone; each
 * level of cgroups is the same piece once more. R6 is the context, R7 the uid.
 */
#include "priv/devprogram.h"

#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "priv/bpf.h"
#include "priv/devfilter.h"
#include "priv/devmap.h"

#define PROGRAM_NAME "dibs_devices" /* what people see in bpftool(8) */
#define PROGRAM_SIZE 1024
#define LEVELS_MAX   16
#define LOAD_TRIES   5

/* Two keys lie on its stack: that of an entry for the device, and that of a mark of a cgroup. */
#define DEVICE_KEY       (-(int)sizeof(struct devkey))
#define CGROUP_KEY       (2 * DEVICE_KEY)
#define FIELD(key, name) ((key) + (int)offsetof(struct devkey, name))
#define OF_CONTEXT(name) ((int)offsetof(struct bpf_cgroup_dev_ctx, name))

enum { DENY, ALLOW };

struct program {
	struct bpf_insn insns[PROGRAM_SIZE];
	size_t n;
	size_t denials[2 * LEVELS_MAX]; /* jumps to the end */
	size_t n_denials;
	int map;
};

static size_t emit(struct program *p, int code, int dst, int src, int off, int imm)
{
	assert(p->n < PROGRAM_SIZE);
	p->insns[p->n] = (struct bpf_insn){ .code = (uint8_t)code,
		.dst_reg = (unsigned)dst & 0xf,
		.src_reg = (unsigned)src & 0xf,
		.off = (int16_t)off,
		.imm = imm };
	return p->n++;
}

static void set(struct program *p, int reg, int imm)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, imm);
}

static void copy(struct program *p, int dst, int src)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void load(struct program *p, int reg, int context_offset)
{
	emit(p, BPF_LDX | BPF_MEM | BPF_W, reg, BPF_REG_6, context_offset, 0);
}

static void store(struct program *p, int size, int slot, int reg)
{
	emit(p, BPF_STX | BPF_MEM | size, BPF_REG_10, reg, slot, 0);
}

static void store_imm(struct program *p, int slot, int imm)
{
	emit(p, BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, slot, imm);
}

static void call(struct program *p, int helper)
{
	emit(p, BPF_JMP | BPF_CALL, 0, 0, 0, helper);
}

static void answer(struct program *p, int verdict)
{
	set(p, BPF_REG_0, verdict);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Where reg OP imm holds, what is emitted from here to land() is left out. */
static size_t skip_if(struct program *p, int reg, int op, int imm)
{
	return emit(p, BPF_JMP | op | BPF_K, reg, 0, 0, imm);
}

static void land(struct program *p, size_t jump)
{
	p->insns[jump].off = (int16_t)(p->n - jump - 1);
}

static void answer_unless(struct program *p, int reg, int op, int imm, int verdict)
{
	size_t skip = skip_if(p, reg, op, imm);

	answer(p, verdict);
	land(p, skip);
}

static void deny_unless(struct program *p, int reg, int op, int imm)
{
	size_t skip = skip_if(p, reg, op, imm);

	assert(p->n_denials < ELEMENTSOF(p->denials));
	p->denials[p->n_denials++] = emit(p, BPF_JMP | BPF_JA, 0, 0, 0, 0);
	land(p, skip);
}

/* R0 is not 0 if the key at slot, with this kind, is in the map. R1 to R5 are lost. */
static void look_up(struct program *p, int slot, enum devfilter_kind kind)
{
	store_imm(p, FIELD(slot, kind), (int)kind);
	emit(p, BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, p->map);
	emit(p, 0, 0, 0, 0, 0); /* the upper half */
	copy(p, BPF_REG_2, BPF_REG_10);
	emit(p, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, slot);
	call(p, BPF_FUNC_map_lookup_elem);
}

/* The answer of the cgroup at this level above the caller, if it has one. The uid is in R7. */
static void ask_cgroup(struct program *p, int level)
{
	size_t none, open;

	set(p, BPF_REG_1, level);
	call(p, BPF_FUNC_get_current_ancestor_cgroup_id);
	none = skip_if(p, BPF_REG_0, BPF_JEQ, 0);
	store(p, BPF_DW, FIELD(DEVICE_KEY, who), BPF_REG_0);
	store(p, BPF_DW, FIELD(CGROUP_KEY, who), BPF_REG_0);
	look_up(p, DEVICE_KEY, DEVFILTER_CGROUP);
	answer_unless(p, BPF_REG_0, BPF_JEQ, 0, ALLOW);
	look_up(p, CGROUP_KEY, DEVFILTER_CLOSED_ROOT);
	deny_unless(p, BPF_REG_0, BPF_JEQ, 0);
	look_up(p, CGROUP_KEY, DEVFILTER_CLOSED);
	open = skip_if(p, BPF_REG_0, BPF_JEQ, 0);
	deny_unless(p, BPF_REG_7, BPF_JEQ, 0);
	answer(p, ALLOW);
	land(p, open);
	land(p, none);
}

static void build(struct program *p)
{
	copy(p, BPF_REG_6, BPF_REG_1);
	load(p, BPF_REG_2, OF_CONTEXT(access_type));
	copy(p, BPF_REG_3, BPF_REG_2);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_3, 0, 0, 0xffff);
	answer_unless(p, BPF_REG_3, BPF_JEQ, BPF_DEVCG_DEV_CHAR, ALLOW);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0,
		(BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE) << 16);
	answer_unless(p, BPF_REG_2, BPF_JNE, 0, ALLOW);

	load(p, BPF_REG_1, OF_CONTEXT(major));
	store(p, BPF_W, FIELD(DEVICE_KEY, major), BPF_REG_1);
	load(p, BPF_REG_1, OF_CONTEXT(minor));
	store(p, BPF_W, FIELD(DEVICE_KEY, minor), BPF_REG_1);
	store_imm(p, FIELD(DEVICE_KEY, who), 0);
	store_imm(p, FIELD(CGROUP_KEY, major), 0); /* and minor */
	look_up(p, DEVICE_KEY, DEVFILTER_GUARDED);
	answer_unless(p, BPF_REG_0, BPF_JNE, 0, ALLOW);

	call(p, BPF_FUNC_get_current_uid_gid);
	emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0); /* the lower half */
	for (int level = LEVELS_MAX; level > 0; level--)
		ask_cgroup(p, level);
	answer_unless(p, BPF_REG_7, BPF_JNE, 0, ALLOW);
	store(p, BPF_DW, FIELD(DEVICE_KEY, who), BPF_REG_7);
	look_up(p, DEVICE_KEY, DEVFILTER_UID);
	answer_unless(p, BPF_REG_0, BPF_JEQ, 0, ALLOW);
	while (p->n_denials > 0)
		land(p, p->denials[--p->n_denials]);

	/* A right may be missing because the guard was lifted since we began: that comes first. */
	store_imm(p, FIELD(DEVICE_KEY, who), 0);
	look_up(p, DEVICE_KEY, DEVFILTER_GUARDED);
	answer_unless(p, BPF_REG_0, BPF_JNE, 0, ALLOW);
	answer(p, DENY);
}

int devprogram_load(int map)
{
	_cleanup_(freep) struct program *p = calloc(1, sizeof(*p));
	union bpf_attr attr;
	int r = -EAGAIN;

	if (!p)
		return -ENOMEM;
	p->map = map;
	build(p);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = bpf_address(p->insns);
	attr.insn_cnt = (uint32_t)p->n;
	attr.license = bpf_address("MIT");
	memcpy(attr.prog_name, PROGRAM_NAME, sizeof(PROGRAM_NAME));
	/* -EAGAIN: a signal came while it was verified. */
	for (int i = 0; r == -EAGAIN && i < LOAD_TRIES; i++)
		r = bpf_call(BPF_PROG_LOAD, &attr);
	return r;
}
