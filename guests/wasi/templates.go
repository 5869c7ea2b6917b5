// build: reactor
// An interpreter that takes its time to start: `warm` parses a thousand templates and fills a dictionary, `answer`
// runs one of them on what it reads. It stands for language runtimes that load their library before the first call.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"
)

var (
	dictionary = map[string]int{}
	templates  = template.New("")
	warmed     int
)

func main() {}

//go:wasmexport warm
func warm() uint32 {
	warmed++
	for i := range 100_000 {
		dictionary[fmt.Sprintf("word%d", i)] = i * i
	}
	for i := range 1000 {
		text := strings.Repeat("{{range .}}{{.}} {{end}}", 1+i%7) + fmt.Sprint(i)
		template.Must(templates.New(fmt.Sprint("page", i)).Parse(text))
	}
	return 0
}

// Reads {"page": …, "words": […]} from its standard input.
//
//go:wasmexport answer
func answer() uint32 {
	if warmed == 0 {
		warm()
	}
	var asked struct {
		Page  string
		Words []string
	}
	data, err := io.ReadAll(os.Stdin)
	if err != nil || json.Unmarshal(data, &asked) != nil {
		return 3
	}
	var values []int
	for _, word := range asked.Words {
		values = append(values, dictionary[word])
	}
	if err := templates.ExecuteTemplate(os.Stdout, asked.Page, values); err != nil {
		return 4
	}
	fmt.Printf(" (warmed %d times, %d words)", warmed, len(dictionary))
	return 0
}
