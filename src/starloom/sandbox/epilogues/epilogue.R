# Runs program.R, then tests.R, in the global environment; says the token only when the last line of the tests is done.
# Not covered: sys.frames() shows this function's variables.
(function() {
  input <- file("stdin", "rb")
  given <- rawToChar(readBin(input, "raw", 4096))
  close(input)
  first <- Sys.getpid()
  texts <- lapply(c("program.R", "tests.R"), function(name) {
    text <- readLines(name, encoding = "UTF-8")
    unlink(name)
    text
  })
  for (text in texts) eval(parse(text = text), globalenv())
  half <- nchar(given) %/% 2
  if (Sys.getpid() == first) {
    base::cat("\n", base::substr(given, half + 1, nchar(given)), base::substr(given, 1, half), " -\n", sep = "", file = base::stdout())
  }
})()
