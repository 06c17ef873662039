// Package change is the vocabulary of Tidemark: values, rows, keys, schemas,
// records and transactions, with the byte encodings that hashes and orders
// rest on. FORMAT.md describes those encodings.
//
// The package does no I/O and imports only the standard library.
package change
