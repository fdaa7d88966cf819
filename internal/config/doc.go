// Package config reads what the operator writes: sallyport.yaml (YAML or JSON
// with comments), agent files in the NAISYS form, and .env files.
//
// What it promises:
//
//   - Nothing is ignored. A key is enforced, or refused with its position, the
//     marked line and what to do. A key that is known but has no effect in this
//     release is refused as such ([ErrNotEnforced]), and every such key of a
//     file is reported at once.
//   - One table (keys.go, keys_later.go, keys_agent.go) says for each key what
//     it means, its type and its range. Checking, the JSON Schema and the
//     suggestions for a mistyped key are all made from it.
//   - A file is bounded before it is parsed: 1 MiB, 10,000 tokens, 64 levels.
//     Aliases count each time they are used, so they cannot multiply.
//   - A marked line never shows the value of a key that looks like a secret.
//   - Values are plain (strings, numbers, lists): other rooms give them meaning.
//
// Only app and cli may import it. It imports fault and nothing else of ours.
package config
