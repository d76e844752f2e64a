/* How messages and outcomes lie in memory: the canonical ABI of millstream:function@0.1.0, written out.
 *
 * A core module that does not describe itself is taken for this version; the server makes a component of it. It has to
 * export `memory` and the four functions below. The layout is that of the WIT file, field for field: strings and lists
 * are a pointer and a length, an option is a byte that says whether there is one, a variant is a byte that says which.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))

typedef struct { const char *at; size_t len; } text;
typedef struct { const uint8_t *at; size_t len; } bytes;
typedef struct { text name, value; } pair;
typedef struct { const pair *at; size_t len; } pairs;

typedef struct {
  text subject;
  struct { bool some; uint64_t value; } sequence;
  int64_t timestamp;
  pairs headers;
  struct { bool some; bytes value; } key;
  bytes payload;
  struct { bool some; uint32_t value; } schema_id;
  uint32_t deliveries;
} message;

typedef struct {
  struct { bool some; text value; } subject;
  struct { bool some; pairs value; } headers;
  bytes payload;
} output;

typedef struct {
  enum __attribute__((packed)) { KEEP, REPLACE, EMIT, DROP, RETRY, REJECT } is;
  union {
    output replace;
    struct { const output *at; size_t len; } emit;
    uint64_t retry_milliseconds;
    struct { text code, reason; } reject;
  };
} outcome;

typedef struct { const outcome *at; size_t len; } outcomes;
typedef struct { bool refused; text why; } configured;

/* The sizes that the ABI prescribes; a compiler that lays them out otherwise does not get past here. */
_Static_assert(sizeof(message) == 72 && offsetof(message, payload) == 52, "message");
_Static_assert(sizeof(output) == 32 && offsetof(output, payload) == 24, "output");
_Static_assert(sizeof(outcome) == 40 && offsetof(outcome, reject) == 8, "outcome");

/* A piece of memory; all of it is free again when the call is over. */
void *take(size_t size, size_t align);
/* Called by the server before the first batch, and for each batch. */
EXPORT("configure") const configured *configure(const pair *config, size_t len);
EXPORT("process") const outcomes *process(const message *batch, size_t len);
