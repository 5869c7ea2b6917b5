module goheartbeat

go 1.24
