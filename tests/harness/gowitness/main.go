// A witness of transparency-dev's in memory, for one log:
//
//	gowitness NAME LOG_VKEY
//
// It prints its verifier key and the port that it listens on, and ends with its standard input.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	key, vkey, err := note.GenerateKey(rand.Reader, os.Args[1])
	check(err)
	signer, err := f_note.NewSignerForCosignatureV1(key)
	check(err)
	vkey, err = f_note.VKeyToCosignatureV1(vkey)
	check(err)
	log, err := note.NewVerifier(os.Args[2])
	check(err)
	known := func(_ context.Context, origin string) (note.Verifier, bool, error) {
		return log, origin == log.Name(), nil
	}
	opts := witness.Opts{Persistence: inmemory.New(), Signers: []note.Signer{signer}, VerifierForLog: known}
	made, err := witness.New(context.Background(), opts)
	check(err)
	http.HandleFunc("/add-checkpoint", witness.NewHTTPHandler(made).AddCheckpoint)
	line, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(vkey)
	fmt.Println(line.Addr().(*net.TCPAddr).Port)
	go func() { check(http.Serve(line, nil)) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
