/* SPDX-License-Identifier: MIT */
/*
 * ~/.canhazgpu.yaml: a mapping of scalars, lists of scalars, and mappings of these. JSON is such
 * YAML, too.
 *
 * libyaml reads it (docs/decisions/0018-yaml.md). It is loaded when there is a file to read, so
 * that nobody else waits for it. A file in the current directory is not looked for: it may be
 * somebody else's, and says to which hosts we connect.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/fd.h"
#include "base/text.h"
#include "compat/canhazgpu.h"

#define ID       "usage.config"
#define LIBRARY  "libyaml-0.so.2"
#define FILE_MAX 65536 /* bytes */

struct yaml_lib {
	__typeof__(&yaml_parser_initialize) initialize;
	__typeof__(&yaml_parser_delete) delete;
	__typeof__(&yaml_parser_set_input_string) set_input;
	__typeof__(&yaml_parser_load) load;
	__typeof__(&yaml_document_get_root_node) root;
	__typeof__(&yaml_document_get_node) node;
	__typeof__(&yaml_document_delete) free;
};

#define SYMBOL(field, name)                             \
	{                                               \
		offsetof(struct yaml_lib, field), #name \
	}

static int load_library(const char *name, struct yaml_lib *ret, struct error *err)
{
	static const struct {
		size_t offset;
		const char *name;
	} symbols[] = {
		SYMBOL(initialize, yaml_parser_initialize),
		SYMBOL(delete, yaml_parser_delete),
		SYMBOL(set_input, yaml_parser_set_input_string),
		SYMBOL(load, yaml_parser_load),
		SYMBOL(root, yaml_document_get_root_node),
		SYMBOL(node, yaml_document_get_node),
		SYMBOL(free, yaml_document_delete),
	};
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
		void *function = library ? dlsym(library, symbols[i].name) : NULL;

		if (!function)
			return error_set(err, -ENOENT, ID,
				"%s cannot be read without libyaml (%s); install libyaml-0-2", name,
				LIBRARY);
		memcpy((char *)ret + symbols[i].offset, &function, sizeof(function));
	}
	return 0;
}

/* One document that is read. */
struct reading {
	struct chg *chg;
	const struct yaml_lib *lib;
	const char *name; /* of the file */
	yaml_document_t *document;
};

static int refuse(
	const struct reading *r, const yaml_node_t *node, const char *what, struct error *err)
{
	return error_set(err, -EINVAL, ID, "%s:%zu: %s", r->name, node->start_mark.line + 1, what);
}

/* NULL: it is no scalar. A plain "~" or nothing is "". */
static const char *scalar(const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;
	bool plain;

	if (node->type != YAML_SCALAR_NODE)
		return NULL;
	plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (strlen(text) != node->data.scalar.length)
		return NULL;
	return plain && (strcmp(text, "~") == 0 || strcmp(text, "null") == 0) ? "" : text;
}

/* The members of a list, with commas. */
static int join(const struct reading *r, const yaml_node_t *node, char **ret, struct error *err)
{
	_cleanup_(freep) char *list = strdup("");

	for (const yaml_node_item_t *i = node->data.sequence.items.start;
		i < node->data.sequence.items.top; i++) {
		const yaml_node_t *item = r->lib->node(r->document, *i);
		const char *text = scalar(item);
		char *more;

		if (!text || strchr(text, ','))
			return refuse(r, item, "a list here has plain values", err);
		more = text_format("%s%s%s", list ? list : "", list && *list ? "," : "", text);
		free(list);
		list = more;
	}
	*ret = TAKE_PTR(list);
	return *ret ? 0 : cli_no_memory(err);
}

static int set(const struct reading *r, const char *key, const yaml_node_t *key_node,
	const char *value, struct error *err)
{
	int e = chg_set(r->chg, CHG_FILE, key, value, err);
	char shown[200];

	if (e == -ENOENT) {
		text_copy(shown, sizeof(shown), key);
		text_sanitize(shown);
		fprintf(stderr, "canhazgpu: %s:%zu: there is no setting '%s'\n", r->name,
			key_node->start_mark.line + 1, shown);
		return 0;
	}
	if (e == -EINVAL)
		return error_prefix(err, e, "%s:%zu", r->name, key_node->start_mark.line + 1);
	return e;
}

static int read_mapping(const struct reading *r, const char *section, const yaml_node_t *mapping,
	struct error *err);

static int read_pair(const struct reading *r, const char *section, const yaml_node_pair_t *pair,
	struct error *err)
{
	const yaml_node_t *key_node = r->lib->node(r->document, pair->key);
	const yaml_node_t *value = r->lib->node(r->document, pair->value);
	_cleanup_(freep) char *list = NULL, *key = NULL;
	const char *name = scalar(key_node);
	int e = 0;

	if (!name)
		return refuse(r, key_node, "a name is missing", err);
	key = section ? text_format("%s.%s", section, name) : strdup(name);
	if (!key)
		return cli_no_memory(err);
	if (value->type == YAML_MAPPING_NODE && !section)
		return read_mapping(r, key, value, err);
	if (value->type == YAML_SEQUENCE_NODE)
		e = join(r, value, &list, err);
	else if (!scalar(value))
		return refuse(r, value, "a plain value or a list is expected here", err);
	return e < 0 ? e : set(r, key, key_node, list ? list : scalar(value), err);
}

/* section NULL: the outermost. */
static int read_mapping(
	const struct reading *r, const char *section, const yaml_node_t *mapping, struct error *err)
{
	for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
		pair < mapping->data.mapping.pairs.top; pair++) {
		int e = read_pair(r, section, pair, err);

		if (e < 0)
			return e;
	}
	return 0;
}

static int read_document(struct reading *r, struct error *err)
{
	const yaml_node_t *root = r->lib->root(r->document);

	if (!root || (root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0))
		return 0; /* empty */
	if (root->type != YAML_MAPPING_NODE)
		return refuse(r, root, "settings with their names are expected, as 'run:'", err);
	return read_mapping(r, NULL, root, err);
}

int chg_read_yaml(
	struct chg *chg, const char *name, const char *text, size_t size, struct error *err)
{
	struct yaml_lib lib;
	struct reading reading = { .chg = chg, .lib = &lib, .name = name };
	yaml_document_t document;
	yaml_parser_t parser;
	int r = load_library(name, &lib, err);

	if (r < 0)
		return r;
	if (!lib.initialize(&parser))
		return cli_no_memory(err);
	lib.set_input(&parser, (const unsigned char *)text, size);
	if (lib.load(&parser, &document)) {
		reading.document = &document;
		r = read_document(&reading, err);
		lib.free(&document);
	} else {
		r = error_set(err, -EINVAL, ID, "%s:%zu: %s", name, parser.problem_mark.line + 1,
			parser.problem ? parser.problem : "this is not YAML");
	}
	lib.delete(&parser);
	return r;
}

/* Security: it says with whom we connect and what our commands do, so nobody else may have written
 * it. A group that is one's own primary group is usually nobody else's. */
static int check_file(int fd, const char *name, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, -errno, ID, "cannot read %s", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, ID, "%s is not a regular file", name);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return error_set(err, -EACCES, ID, "%s belongs to somebody else", name);
	if (st.st_mode & S_IWOTH || (st.st_mode & S_IWGRP && st.st_gid != getegid()))
		return error_set(
			err, -EACCES, ID, "others can write %s; see to it with 'chmod go-w'", name);
	if (st.st_size > FILE_MAX)
		return error_set(err, -EFBIG, ID, "%s has more than %d bytes", name, FILE_MAX);
	return 0;
}

static int read_file(struct chg *chg, int fd, struct error *err)
{
	_cleanup_(freep) char *text = malloc(FILE_MAX);
	int r = check_file(fd, chg->config, err);
	ssize_t n;

	if (r < 0)
		return r;
	if (!text)
		return cli_no_memory(err);
	n = read_all(fd, text, FILE_MAX);
	if (n < 0)
		return error_errno(err, (int)n, ID, "cannot read %s", chg->config);
	return chg_read_yaml(chg, chg->config, text, (size_t)n, err);
}

int chg_read_config(struct chg *chg, struct error *err)
{
	const char *given = chg_value(chg, CHG_CONFIG), *home = getenv("HOME");
	_cleanup_(closep) int fd = -1;
	int r;

	if (!*given && (!home || *home != '/'))
		return 0;
	chg->config = *given ? strdup(given) : text_format("%s/.canhazgpu.yaml", home);
	if (!chg->config)
		return cli_no_memory(err);
	fd = open(chg->config, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && !*given && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return 0;
	if (fd < 0)
		return error_errno(err, -errno, ID, "cannot read %s", chg->config);
	if (strlen(chg->config) > 5 && strcmp(strchr(chg->config, 0) - 5, ".toml") == 0)
		return error_set(err, -EINVAL, ID,
			"%s: TOML is not read any more; write it as YAML or JSON", chg->config);
	r = read_file(chg, fd, err);
	if (r != -EACCES || *given)
		return r;
	/* With sudo, HOME may be that of its user. */
	fprintf(stderr, "canhazgpu: %s; it is not read\n", err->text);
	return 0;
}
