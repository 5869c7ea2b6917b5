// build: command
// Counts the words of a file, sorts them and writes the counts beside it: goroutines, maps, files, environment.
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

func main() {
	counts := map[string]int{}
	var lock sync.Mutex
	var group sync.WaitGroup
	files, err := filepath.Glob(os.Args[1] + "/*.txt")
	if err != nil {
		panic(err)
	}
	for _, name := range files {
		group.Add(1)
		go func() {
			defer group.Done()
			file, err := os.Open(name)
			if err != nil {
				panic(err)
			}
			defer file.Close()
			words := bufio.NewScanner(file)
			words.Split(bufio.ScanWords)
			for words.Scan() {
				lock.Lock()
				counts[strings.ToLower(words.Text())]++
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	sort.Strings(names)
	out, err := os.Create(os.Args[1] + "/counts")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		fmt.Fprintln(out, name, counts[name])
	}
	if err := out.Close(); err != nil {
		panic(err)
	}
	fmt.Println(len(files), len(names), os.Getenv("GREETING"))
	os.Exit(5)
}
