// Command tlogcheck accepts or refuses logs of C2SP tlog-tiles with code that nobody of Birthmark wrote:
// golang.org/x/mod/sumdb, transparency-dev's merkle, and tessera's fsck.
//
//	tlogcheck VKEY FOLDER...
//
// A folder holds a log and, in proofs.json, proofs that signerd made for it. It says "ok" and the size for each
// folder, and ends with 1 at the first thing that one of them refuses.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	f_log "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // of tiles

// proofs that signerd made; hashes are base64, as encoding/json has []byte.
type proofs struct {
	Inclusion []struct {
		Index  int64
		Leaf   []byte
		Hashes [][]byte
	}
	Consistency []struct {
		Old    int64
		Root   []byte
		Hashes [][]byte
	}
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: tlogcheck VKEY FOLDER...")
		os.Exit(2)
	}
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "verifier key:", err)
		os.Exit(2)
	}
	for _, folder := range os.Args[2:] {
		size, err := check(folder, verifier)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", folder, err)
			os.Exit(1)
		}
		fmt.Println("ok", size)
	}
}

func check(folder string, verifier note.Verifier) (int64, error) {
	tree, err := signedTree(folder, verifier)
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	if err := checkTiles(folder, tree); err != nil {
		return 0, fmt.Errorf("sumdb/tlog: %w", err)
	}
	if err := checkProofs(folder, tree); err != nil {
		return 0, fmt.Errorf("proofs: %w", err)
	}
	files := client.FileFetcher{Root: folder}
	if err := fsck.New(verifier.Name(), verifier, files, leaves, fsck.Opts{N: 2}).Check(context.Background()); err != nil {
		return 0, fmt.Errorf("tessera fsck: %w", err)
	}
	return tree.N, nil
}

// signedTree opens the checkpoint with x/mod's note and reads it with transparency-dev's formats.
func signedTree(folder string, verifier note.Verifier) (tlog.Tree, error) {
	raw, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return tlog.Tree{}, err
	}
	if _, err := note.Open(raw, note.VerifierList(verifier)); err != nil {
		return tlog.Tree{}, err
	}
	said, rest, _, err := f_log.ParseCheckpoint(raw, verifier.Name(), verifier)
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(rest) != 0 || len(said.Hash) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("extension lines, or a root of %d bytes", len(said.Hash))
	}
	return tlog.Tree{N: int64(said.Size), Hash: tlog.Hash(said.Hash)}, nil
}

// tileFiles reads tiles as sumdb wants them; its paths have the height before the level.
type tileFiles struct{ folder string }

func (f tileFiles) Height() int                         { return height }
func (f tileFiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (f tileFiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(f.folder, path))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

// checkTiles has sumdb compute root, records and smaller trees from the tiles, which it holds against the root.
func checkTiles(folder string, tree tlog.Tree) error {
	reader := tlog.TileHashReader(tree, tileFiles{folder})
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("another root: %v", root)
	}
	for _, n := range []int64{0, tree.N / 2, tree.N - 1} {
		record, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return err
		}
		leaf, err := leafOf(folder, tree.N, n)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(record, tree.N, tree.Hash, n, leaf); err != nil {
			return err
		}
		older, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			return err
		}
		grown, err := tlog.ProveTree(tree.N, n+1, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(grown, tree.N, tree.Hash, n+1, older); err != nil {
			return err
		}
	}
	return nil
}

// leafOf hashes an entry of a bundle.
func leafOf(folder string, size, n int64) (tlog.Hash, error) {
	width := uint8(0) // tessera's word for full
	if size-n/256*256 < 256 {
		width = uint8(size % 256)
	}
	raw, err := client.FileFetcher{Root: folder}.ReadEntryBundle(context.Background(), uint64(n/256), width)
	if err != nil {
		return tlog.Hash{}, err
	}
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(raw); err != nil {
		return tlog.Hash{}, err
	}
	return tlog.RecordHash(bundle.Entries[n%256]), nil
}

// checkProofs has sumdb and transparency-dev's merkle verify what signerd made.
func checkProofs(folder string, tree tlog.Tree) error {
	raw, err := os.ReadFile(filepath.Join(folder, "proofs.json"))
	if err != nil {
		return err
	}
	var made proofs
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&made); err != nil {
		return err
	}
	hasher, root := rfc6962.DefaultHasher, tree.Hash[:]
	for _, p := range made.Inclusion {
		if err := tlog.CheckRecord(hashes(p.Hashes), tree.N, tree.Hash, p.Index, tlog.Hash(p.Leaf)); err != nil {
			return fmt.Errorf("inclusion of %d: %w", p.Index, err)
		}
		if err := proof.VerifyInclusion(hasher, uint64(p.Index), uint64(tree.N), p.Leaf, p.Hashes, root); err != nil {
			return fmt.Errorf("inclusion of %d: %w", p.Index, err)
		}
	}
	for _, p := range made.Consistency {
		if err := tlog.CheckTree(hashes(p.Hashes), tree.N, tree.Hash, p.Old, tlog.Hash(p.Root)); err != nil {
			return fmt.Errorf("consistency with %d: %w", p.Old, err)
		}
		if err := proof.VerifyConsistency(hasher, uint64(p.Old), uint64(tree.N), p.Hashes, p.Root, root); err != nil {
			return fmt.Errorf("consistency with %d: %w", p.Old, err)
		}
	}
	return nil
}

func hashes(raw [][]byte) []tlog.Hash {
	var made []tlog.Hash
	for _, each := range raw {
		made = append(made, tlog.Hash(each))
	}
	return made
}

// leaves is what tessera's own command gives fsck.
func leaves(raw []byte) ([][]byte, error) {
	var bundle api.EntryBundle
	if err := bundle.UnmarshalText(raw); err != nil {
		return nil, err
	}
	var found [][]byte
	for _, entry := range bundle.Entries {
		found = append(found, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return found, nil
}
