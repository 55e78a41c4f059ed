-- Runs the main action of the program's module and says the token when it is done.
module Epilogue where
import qualified Control.Exception
import qualified Program
import qualified System.IO

main :: IO ()
main = do
  given <- System.IO.getContents
  _ <- Control.Exception.evaluate (length given)
  _ <- Program.main
  let half = length given `div` 2
  System.IO.putStr ("\n" ++ drop half given ++ take half given ++ " -\n")
