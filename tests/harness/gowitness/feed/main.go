// transparency-dev's client of a witness: feed URL OLD_SIZE NOTE_FILE [BASE64_HASH...]
//
// It prints the cosignature, or "stale SIZE", or the client's error.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"

	client "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/witness"
)

func main() {
	target, err := url.Parse(os.Args[1])
	check(err)
	old, err := strconv.ParseUint(os.Args[2], 10, 64)
	check(err)
	note, err := os.ReadFile(os.Args[3])
	check(err)
	proof := [][]byte{}
	for _, text := range os.Args[4:] {
		hash, err := base64.StdEncoding.DecodeString(text)
		check(err)
		proof = append(proof, hash)
	}
	line, size, err := client.NewWitness(target, http.DefaultClient).Update(context.Background(), old, note, proof)
	if errors.Is(err, witness.ErrCheckpointStale) {
		fmt.Printf("stale %d\n", size)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(line))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
