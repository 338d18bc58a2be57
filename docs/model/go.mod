module beldi-model

go 1.26
