module guesthouse/demo/words

go 1.24
