# Runs program.rb, then tests.rb, at the top level; says the token only when the last line of the tests is done, and only if
# `raise` is still Ruby's own. Not covered: ObjectSpace and bindings of other frames.
lambda do
  given = $stdin.read
  $stdin.reopen(File::NULL)
  pid_of = Process.method(:pid)
  first = Process.pid
  out = $stdout.dup
  program, tests = %w[program.rb tests.rb].map { |name| File.read(name, encoding: 'UTF-8').tap { File.delete(name) } }
  eval(program, TOPLEVEL_BINDING, 'program.rb')
  own = -> { Object.new.method(:raise).owner == Kernel && Kernel.instance_method(:raise).source_location.nil? }
  abort 'the program replaced raise' unless own.call
  eval(tests, TOPLEVEL_BINDING, 'tests.rb')
  abort 'the program replaced raise' unless own.call
  if defined?(Test::Unit::AutoRunner)  # it would run the tests at exit, behind the ending
    Test::Unit::AutoRunner.need_auto_run = false
    abort 'tests fail' unless Test::Unit::AutoRunner.run
  end
  if pid_of.call == first
    half = given.length / 2
    $stdout.flush
    out.syswrite("\n#{given[half..]}#{given[0, half]} -\n")
  end
end.call
