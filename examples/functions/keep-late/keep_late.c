/* Keeps the flights that were late and drops the others. It looks for one field and does not read the rest.
 *
 * Configuration: `late_after_minutes`, 15 when it is not set. */

#include "abi.h"

#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

static double late_after_minutes = 15;

static bool same(text a, text b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++) {
    if (a.at[i] != b.at[i]) return false;
  }
  return true;
}

/* What is left to read. */
typedef struct { const char *at, *end; } cursor;

static void blanks(cursor *c) {
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) c->at++;
}

static bool eat(cursor *c, char wanted) {
  blanks(c);
  if (c->at >= c->end || *c->at != wanted) return false;
  c->at++;
  return true;
}

/* A string's characters between the quotes, as they are written. */
static bool string(cursor *c, text *found) {
  if (!eat(c, '"')) return false;
  const char *start = c->at;
  for (; c->at < c->end && *c->at != '"'; c->at++) {
    if (*c->at == '\\') c->at++;
  }
  if (c->at >= c->end) return false;
  *found = (text){start, (size_t)(c->at - start)};
  c->at++;
  return true;
}

static bool digit(const cursor *c) { return c->at < c->end && *c->at >= '0' && *c->at <= '9'; }

/* A decimal number; powers of ten are left to programs that need them. */
static bool number(cursor *c, double *found) {
  blanks(c);
  bool negative = c->at < c->end && *c->at == '-';
  if (negative) c->at++;
  if (!digit(c)) return false;
  double value = 0;
  for (; digit(c); c->at++) value = value * 10 + (*c->at - '0');
  if (c->at < c->end && *c->at == '.') {
    c->at++;
    for (double place = 0.1; digit(c); c->at++, place /= 10) value += place * (*c->at - '0');
  }
  *found = negative ? -value : value;
  return c->at >= c->end || (*c->at != 'e' && *c->at != 'E');
}

/* Over any value, to the comma or bracket behind it. */
static bool skip(cursor *c) {
  text ignored;
  for (int depth = 0;;) {
    blanks(c);
    if (c->at >= c->end) return false;
    char next = *c->at;
    if (next == '"') {
      if (!string(c, &ignored)) return false;
      continue;
    }
    if (depth == 0 && (next == ',' || next == '}')) return true;
    if (next == '{' || next == '[') depth++;
    if (next == '}' || next == ']') depth--;
    c->at++;
  }
}

static outcome reject(text reason) {
  return (outcome){.is = REJECT, .reject = {TEXT("not_a_flight"), reason}};
}

static outcome look(const message *flight) {
  cursor c = {(const char *)flight->payload.at, (const char *)flight->payload.at + flight->payload.len};
  if (!eat(&c, '{')) return reject(TEXT("no JSON object"));
  outcome found = {.is = DROP};
  if (eat(&c, '}')) return found;
  do {
    text name;
    if (!string(&c, &name) || !eat(&c, ':')) return reject(TEXT("a field without a name"));
    double delay;
    cursor value = c;
    /* A cancelled flight has null there: it never left, and so not late. */
    if (same(name, TEXT("dep_delay")) && number(&value, &delay)) found.is = delay >= late_after_minutes ? KEEP : DROP;
    if (!skip(&c)) return reject(TEXT("it ends too soon"));
  } while (eat(&c, ','));
  if (!eat(&c, '}')) return reject(TEXT("it ends too soon"));
  return found;
}

const configured *configure(const pair *config, size_t len) {
  configured *answer = take(sizeof *answer, 8);
  *answer = (configured){.refused = false};
  for (size_t i = 0; i < len; i++) {
    cursor c = {config[i].value.at, config[i].value.at + config[i].value.len};
    if (!same(config[i].name, TEXT("late_after_minutes"))) {
      *answer = (configured){true, TEXT("unknown configuration; known: `late_after_minutes`")};
    } else if (!number(&c, &late_after_minutes) || c.at != c.end || late_after_minutes < 0) {
      *answer = (configured){true, TEXT("`late_after_minutes` must be a number, zero or more")};
    }
  }
  return answer;
}

const outcomes *process(const message *batch, size_t len) {
  outcomes *answer = take(sizeof *answer, 8);
  outcome *each = take(len * sizeof *each, 8);
  for (size_t i = 0; i < len; i++) each[i] = look(&batch[i]);
  *answer = (outcomes){each, len};
  return answer;
}
